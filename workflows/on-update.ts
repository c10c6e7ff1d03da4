import { CancellationScope, condition, setHandler } from '@temporalio/workflow';
import type { UpdateDefinition } from '@temporalio/common';

/** More than there are conditions in these workflows that wait for one another. */
const ROUNDS = 10;

/**
 * Handles an update once all that is resolved in the same task is dealt with. Instead of the SDK's `setHandler`: a task in
 * which something was resolved and no command came of it may be joined with the next one, and then a worker is given that
 * one's update before what was resolved. Temporal's core does so or not from one replay to the next
 * (https://github.com/temporalio/sdk-rust/issues/1146), so a handler that looked at once would see another state in each,
 * and a workflow whose commands depend on it could never be replayed again.
 */
export function onUpdate<Result, Args extends unknown[]>(
  definition: UpdateDefinition<Result, Args>,
  handler: (...args: Args) => Result | Promise<Result>,
  options: { readonly description: string; readonly validator?: (...args: Args) => void },
): void {
  const handle = async (...args: Args): Promise<Result> => {
    await CancellationScope.nonCancellable(othersFirst);
    return handler(...args);
  };
  setHandler<Result, Args, UpdateDefinition<Result, Args>>(definition, handle, options);
}

async function othersFirst(): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    await Promise.resolve();
    // A condition is asked when it begins, and next when nothing can go on without one.
    let asked = false;
    await condition(() => {
      const again = asked;
      asked = true;
      return again;
    });
  }
}
