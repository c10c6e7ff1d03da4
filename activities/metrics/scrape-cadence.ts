import { median } from '../../domain/canary/median.js';

/**
 * A target is scraped more seldom than it is asked for where so many samples in a row came this many steps after the one
 * before. Seen at the instants of a grid, samples that are now and then just late come two steps apart, too, for a while.
 */
const IN_A_ROW = 8;
const LATE_STEPS = 1.5;

/** What is known of one series: the instant of its newest sample, and the last times between two of them, ms. */
interface Rhythm {
  newestMs: number | null;
  readonly gapsMs: number[];
}

/**
 * How often the targets of an arm are really scraped. Kept from one answer to the next, as a look brings a sample or two.
 * A target that misses a scrape now and then, or one of several that is scraped late, is no reason to doubt the interval.
 */
export class ScrapeCadence {
  private readonly rhythms = new Map<string, Rhythm>();

  /**
   * Takes in when the samples were taken that each of an arm's series shows, ms since the epoch, in order of time.
   *
   * @param series by what tells them apart, over all arms
   * @returns the time between two scrapes, ms, where all of them come more seldom than every `stepMs`; else `null`
   */
  slower(series: ReadonlyMap<string, readonly number[]>, stepMs: number): number | null {
    const gaps = [...series].map(([key, instants]) => this.gapsOf(key, instants));
    const isSure = gaps.some((own) => own.length === IN_A_ROW);
    return isSure && gaps.flat().every((gap) => gap >= LATE_STEPS * stepMs) ? median(gaps.flat()) : null;
  }

  /** The last times between two samples of a series. */
  private gapsOf(key: string, instants: readonly number[]): readonly number[] {
    const rhythm = this.rhythms.get(key) ?? { newestMs: null, gapsMs: [] };
    this.rhythms.set(key, rhythm);
    for (const atMs of instants) {
      if (rhythm.newestMs !== null && atMs <= rhythm.newestMs) continue;
      if (rhythm.newestMs !== null) rhythm.gapsMs.push(atMs - rhythm.newestMs);
      rhythm.newestMs = atMs;
    }
    rhythm.gapsMs.splice(0, rhythm.gapsMs.length - IN_A_ROW);
    return rhythm.gapsMs;
  }
}
