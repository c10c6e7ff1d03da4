import { ActivityFailure, CancellationScope, condition, isCancellation, sleep } from '@temporalio/workflow';
import type { Policy } from '../domain/policy.js';
import { courtesies } from './activity-profiles.js';
import { failureText, with_ } from './effects.js';

export interface Notice {
  readonly kind: string;
  readonly severity: 'info' | 'warning' | 'page';
  readonly title: string;
  readonly text: string;
  /** Groups of people whom it asks or tells. */
  readonly groups?: readonly string[];
  /** Tells this notice from others of its rollout; part of its idempotency key. */
  readonly n: string;
}

/** Messages to people. Nothing waits for them but the very end, and that not for long. */
export class Notices {
  private open = 0;

  constructor(
    private readonly about: { readonly rolloutId: string; readonly policy: Pick<Policy, 'lane' | 'notify'> },
    private readonly onFailure: (text: string) => void,
  ) {}

  send(notice: Notice): void {
    this.open += 1;
    void CancellationScope.nonCancellable(() => this.deliver(notice));
  }

  /** A way back that is not done after 2 minutes calls a person; it goes on all the same. */
  async pageIfSlow<T>(name: string, wayBack: () => Promise<T>): Promise<T> {
    const slow = new CancellationScope({ cancellable: true });
    const paging = slow.run(async () => {
      try {
        await sleep('2m', { summary: 'page if the rollback is not done' });
        this.send({
          kind: 'rollback-slow',
          severity: 'page',
          title: `${name}: the rollback is not done after 2 min`,
          text: 'it goes on trying; see slipway stuck',
          n: 'rollback-slow',
        });
      } catch (error) {
        if (!isCancellation(error)) throw error;
      }
    });
    const result = await wayBack();
    slow.cancel();
    await paging;
    return result;
  }

  /** Waits until all messages are out, a minute at most: the rollout's outcome is already recorded. */
  async settled(): Promise<void> {
    await condition(() => this.open === 0, '1m', { summary: 'messages on their way' });
  }

  private async deliver({ n, ...notice }: Notice): Promise<void> {
    const { rolloutId, policy } = this.about;
    const id = `${rolloutId}/notice/${notice.kind}/${n}`;
    const at = new Date().toISOString();
    try {
      await with_(
        courtesies(),
        'notify',
        { summary: notice.title },
        { ...notice, id, at, lane: policy.lane, rolloutId, channels: policy.notify },
      );
    } catch (error) {
      if (!(error instanceof ActivityFailure)) throw error;
      this.onFailure(`message "${notice.title}" was not delivered: ${failureText(error)}`);
    } finally {
      this.open -= 1;
    }
  }
}
