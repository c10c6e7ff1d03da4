import { ActivityFailure, CancellationScope, condition } from '@temporalio/workflow';
import { canonicalJson } from '../domain/canonical.js';
import { slackCard } from '../domain/slack/card.js';
import type { TimelineEntry } from '../domain/rollout.js';
import { followers } from './activity-profiles.js';
import { failureText, with_ } from './effects.js';
import type { RunState } from './run-state.js';

/**
 * Keeps a rollout's message in Slack as the rollout is, where the policy names a channel. One call at a time, so that
 * messages can't overtake one another; what changes meanwhile is told by the next. Nothing waits for it but the very end.
 */
export class SlackFollower {
  private changed = true;
  private done = true;
  private ts: string | null = null;
  private told = 0;
  private doubtful = false;
  private lastTold: TimelineEntry | null = null;
  private underWay: { readonly scope: CancellationScope; readonly last: boolean } | null = null;

  constructor(private readonly state: RunState) {}

  follow(): void {
    const { slack } = this.state.request.policy;
    if (slack === undefined) return;
    this.done = false;
    this.state.onChange = () => {
      this.changed = true;
    };
    void CancellationScope.nonCancellable(() => this.tellAll(slack.channel));
  }

  /**
   * Waits until the end has been told, a minute at most: the rollout's outcome is already recorded. What is being tried
   * for longer than a few seconds by then is old news.
   */
  async settled(): Promise<void> {
    if (this.done) return;
    if (await condition(() => this.done, '10s', { summary: 'the end is told in Slack' })) return;
    if (this.underWay?.last === false) this.underWay.scope.cancel();
    if (await condition(() => this.done, '50s', { summary: 'the end is told in Slack' })) return;
    this.underWay?.scope.cancel();
    await condition(() => this.done);
  }

  private async tellAll(channel: string): Promise<void> {
    let shown = '';
    while (!this.done) {
      await condition(() => this.changed);
      this.changed = false;
      const view = this.state.view();
      const card = slackCard(view);
      const lines = news(view.timeline, this.lastTold);
      const json = canonicalJson(card);
      if (json === shown && lines.length === 0) continue;
      const last = card.outcome !== null;
      const { ts, told: from, doubtful } = this;
      const call = { channel, card, lines, from, ts, doubtful };
      const scope = new CancellationScope({ cancellable: true });
      this.underWay = { scope, last };
      try {
        const posted = await scope.run(() =>
          with_(followers(), 'slackMessage', { summary: `Slack: ${card.status}` }, call),
        );
        this.ts = posted.ts;
        this.told = posted.told;
        this.doubtful = posted.doubtful;
        this.lastTold = lines.at(-1) ?? this.lastTold;
        shown = json;
      } catch (error) {
        if (!(error instanceof ActivityFailure)) throw error;
        this.failed(error, scope);
      }
      this.done = last;
    }
  }

  private failed(error: ActivityFailure, scope: CancellationScope): void {
    // What was cancelled may have been sent.
    this.doubtful = true;
    if (scope.consideredCancelled) return;
    const text = `Slack was not told: ${failureText(error)}`;
    if (!this.state.warnings.includes(text)) this.state.warn(text);
  }
}

/** Lines after the one that was told last; the oldest may have been dropped meanwhile. */
function news(timeline: readonly TimelineEntry[], last: TimelineEntry | null): readonly TimelineEntry[] {
  const index = last === null ? -1 : timeline.lastIndexOf(last);
  return timeline.slice(index + 1);
}
