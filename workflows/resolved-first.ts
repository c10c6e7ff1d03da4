import { CancellationScope, condition } from '@temporalio/workflow';

/** More than there are conditions in these workflows that wait for one another. */
const ROUNDS = 10;

/**
 * To be awaited first in each update's handler: what is resolved in the same task is dealt with before it. A task in which
 * something was resolved and no command came of it may be joined with the next one, and then a worker is given that one's
 * update before what was resolved. Temporal's core does so or not from one replay to the next
 * (https://github.com/temporalio/sdk-rust/issues/1146), so a handler that looked at once would see another state in each,
 * and a workflow whose commands depend on it could never be replayed again.
 */
export async function resolvedFirst(): Promise<void> {
  await CancellationScope.nonCancellable(async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      // A condition is asked when it begins, and next when nothing else can go on without one.
      await Promise.resolve();
      let asked = false;
      await condition(() => {
        const again = asked;
        asked = true;
        return again;
      });
    }
  });
}
