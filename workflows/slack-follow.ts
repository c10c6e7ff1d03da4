import {
  ActivityFailure,
  CancellationScope,
  condition,
  ParentClosePolicy,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import { WorkflowIdReusePolicy } from '@temporalio/common';
import type { SlackCall } from '../activities/slack/slack-message.js';
import { canonicalJson } from '../domain/canonical.js';
import { slackCard } from '../domain/slack/card.js';
import type { TimelineEntry } from '../domain/rollout.js';
import { followers } from './activity-profiles.js';
import { failureText, with_ } from './effects.js';
import { searchAttributes, slackEndWorkflowId, WORKFLOW_TASK_TIMEOUT } from './messages.js';
import type { RunState } from './run-state.js';
import { slackEnd } from './slack-end.js';

/**
 * Keeps a rollout's message in Slack as the rollout is, where the policy names a channel. One call at a time, so that
 * messages can't overtake one another; what changes meanwhile is told by the next. Nothing waits for it: where Slack
 * does not take the end within seconds, a run of its own (`slackEnd`) tells that, however long it takes.
 */
export class SlackFollower {
  private changed = true;
  private done = true;
  private ts: string | null = null;
  private told = 0;
  private doubtful = false;
  /** The card that stands in Slack. */
  private shown = '';
  private lastTold: TimelineEntry | null = null;
  private underWay: CancellationScope | null = null;
  /** The rollout is over, and has waited for Slack for long enough. */
  private late = false;

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

  /** Waits until the end has been told, seconds at most, or is in good hands. */
  async settled(): Promise<void> {
    if (this.done) return;
    if (await condition(() => this.done, '5s', { summary: 'the end is told in Slack' })) return;
    this.late = true;
    this.underWay?.cancel();
    await condition(() => this.done);
  }

  private async tellAll(channel: string): Promise<void> {
    while (!this.done) {
      await condition(() => this.changed);
      this.changed = false;
      const view = this.state.view();
      const card = slackCard(view);
      const lines = news(view.timeline, this.lastTold);
      if (canonicalJson(card) === this.shown && lines.length === 0) continue;
      const last = card.outcome !== null;
      const { ts, told: from, doubtful } = this;
      const call = { channel, card, run: workflowInfo().runId, lines, from, ts, doubtful };
      if (last && this.late) {
        await this.handOver(call);
        this.done = true;
      } else if (await this.tell(call)) {
        this.done = last;
      }
    }
  }

  /** False: it was cancelled, and may or may not have been sent. What Slack refuses is settled: a warning tells of it. */
  private async tell(call: SlackCall): Promise<boolean> {
    const scope = new CancellationScope({ cancellable: true });
    this.underWay = scope;
    try {
      const posted = await scope.run(() =>
        with_(followers(), 'slackMessage', { summary: `Slack: ${call.card.status}` }, call),
      );
      this.ts = posted.ts;
      this.told = posted.told;
      this.doubtful = posted.doubtful;
      this.lastTold = call.lines.at(-1) ?? this.lastTold;
      this.shown = canonicalJson(call.card);
    } catch (error) {
      if (!(error instanceof ActivityFailure)) throw error;
      this.doubtful = true;
      if (scope.consideredCancelled) {
        this.changed = true;
        return false;
      }
      const text = `Slack was not told: ${failureText(error)}`;
      if (!this.state.warnings.includes(text)) this.state.warn(text);
    } finally {
      this.underWay = null;
    }
    return true;
  }

  private async handOver(call: SlackCall): Promise<void> {
    const { policy, rolloutId } = this.state.request;
    const { lane } = policy;
    await startChild(slackEnd, {
      workflowId: slackEndWorkflowId(lane, rolloutId),
      args: [call],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      // After a reset the end may be another: what an earlier run still tries to tell goes.
      workflowIdReusePolicy: WorkflowIdReusePolicy.TERMINATE_IF_RUNNING,
      workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
      staticSummary: `tell in Slack: ${call.card.release} ${call.card.outcome ?? ''}`.slice(0, 180),
      typedSearchAttributes: [
        { key: searchAttributes.service, value: lane.service },
        { key: searchAttributes.environment, value: lane.environment },
        { key: searchAttributes.rolloutId, value: rolloutId },
      ],
    });
  }
}

/** Lines after the one that was told last; the oldest may have been dropped meanwhile. */
function news(timeline: readonly TimelineEntry[], last: TimelineEntry | null): readonly TimelineEntry[] {
  const index = last === null ? -1 : timeline.lastIndexOf(last);
  return timeline.slice(index + 1);
}
