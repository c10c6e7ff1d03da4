import { liveStage, withLook } from '../../domain/live.js';
import type { LiveLook, LiveStage } from '../../domain/live.js';
import type { ArmSamples, Verdict } from '../../domain/canary/types.js';
import type { WatchCall } from '../contract.js';

/** It is made anew at most so often: Temporal's SDK sends a heartbeat each 4 s and drops those in between. */
const REFRESH_MS = 2000;

/** What a watch tells with its heartbeats, for pages that look on. A watch that was lost tells on from where it was. */
export class Seen {
  private canary: ArmSamples | null = null;
  private comparison: ArmSamples | null = null;
  private looks: readonly LiveLook[];
  private latest: LiveStage | null;
  private stale = false;
  private madeMs = -Infinity;

  /** @param before what the attempt before had told */
  constructor(
    private readonly call: WatchCall,
    before: LiveStage | null,
  ) {
    const same = before !== null && before.stage === call.stage && before.startMs === call.startMs;
    this.latest = same ? before : null;
    this.looks = this.latest?.looks ?? [];
  }

  samples(canary: ArmSamples | null, comparison: ArmSamples | null): void {
    this.canary = canary;
    this.comparison = comparison;
    this.stale = true;
  }

  verdict(verdict: Pick<Verdict, 'atMs' | 'kind' | 'summary' | 'look'>): void {
    this.looks = withLook(this.looks, verdict);
    this.stale = true;
  }

  live(nowMs: number): LiveStage | null {
    if (!this.stale || nowMs - this.madeMs < REFRESH_MS) return this.latest;
    const { stage, startMs, durationMs, analysis } = this.call;
    const { canary, comparison, looks } = this;
    const { scrapeIntervalMs } = analysis;
    this.madeMs = nowMs;
    this.stale = false;
    try {
      this.latest = liveStage({ stage, startMs, durationMs, scrapeIntervalMs, canary, comparison, looks });
    } catch (error) {
      // Samples that make no sense: the judge has said so, and a heartbeat must not fail for it.
      if (!(error instanceof RangeError)) throw error;
    }
    return this.latest;
  }
}
