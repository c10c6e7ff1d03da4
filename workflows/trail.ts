import { ActivityFailure, ApplicationFailure, CancellationScope, condition } from '@temporalio/workflow';
import type { LaneRef } from '../domain/target.js';
import { genesis, headAfter, nextEntry } from '../domain/trail.js';
import type { TrailEntry, TrailFact, TrailHead } from '../domain/trail.js';
import { courtesies } from './activity-profiles.js';
import { failureText, with_ } from './effects.js';

/**
 * A run's trail: numbers and links its entries, which makes the workflow their only writer, and has them kept. Entries
 * wait in memory until there is a reason to keep them, so that a trail costs few events; nothing waits for that but the
 * very end, and that not for long.
 */
export class Trail {
  private latest: TrailHead;
  /** Not known to be kept. */
  private waiting: TrailEntry[] = [];
  private state: 'idle' | 'writing' | 'writing-more-to-come' = 'idle';
  /** The last entry was added: nothing comes after it. */
  private closed = false;
  /** Something else is kept under its numbers: no use to try again. */
  private conflict = false;
  private failing = false;
  /** Told when entries could not be kept, once until they can again. */
  onFailure: (text: string) => void = () => undefined;
  /** Told when something else is kept in place of this trail: a person must look. */
  onConflict: (text: string) => void = () => undefined;

  constructor(
    private readonly scope: { readonly lane: LaneRef; readonly rolloutId: string },
    /** The workflow's id. */
    log: string,
  ) {
    this.latest = genesis(log);
  }

  get head(): TrailHead {
    return this.latest;
  }

  add(fact: TrailFact): void {
    if (this.closed) return;
    const entry = nextEntry(this.latest, { ...fact, at: new Date().toISOString() });
    this.latest = headAfter(entry);
    this.waiting.push(entry);
  }

  /** Adds what should be kept at once, whatever becomes of the run. */
  addAndKeep(fact: TrailFact): void {
    this.add(fact);
    this.keep();
  }

  /** Adds the last entry. */
  close(fact: TrailFact): void {
    this.add(fact);
    this.closed = true;
    this.keep();
  }

  /** Has what waits kept. One call at a time: what comes meanwhile goes with the next. */
  keep(): void {
    if (this.conflict || this.waiting.length === 0) return;
    if (this.state === 'idle') void CancellationScope.nonCancellable(() => this.write());
    else this.state = 'writing-more-to-come';
  }

  /** Waits until all is kept or given up, a minute at most: the outcome is already recorded. */
  async settled(): Promise<void> {
    await condition(() => this.state === 'idle', '1m', { summary: 'the trail is kept' });
  }

  private async write(): Promise<void> {
    do {
      this.state = 'writing';
      const entries = [...this.waiting];
      const summary = `trail: entries ${entries[0]?.seq ?? 0} to ${this.latest.size - 1}`;
      try {
        await with_(courtesies(), 'appendTrail', { summary }, { ...this.scope, entries, closes: this.closed });
        this.waiting = this.waiting.slice(entries.length);
        this.failing = false;
      } catch (error) {
        if (!(error instanceof ActivityFailure)) throw error;
        this.failed(error);
      }
    } while (this.isMoreToCome() && !this.conflict);
    this.state = 'idle';
  }

  private isMoreToCome(): boolean {
    return this.state === 'writing-more-to-come' && this.waiting.length > 0;
  }

  private failed(error: ActivityFailure): void {
    const text = `entries of the trail could not be kept: ${failureText(error)}`;
    if (error.cause instanceof ApplicationFailure && error.cause.type === 'TrailConflict') {
      this.conflict = true;
      this.onConflict(text);
    }
    if (!this.failing) this.onFailure(text);
    this.failing = true;
  }
}
