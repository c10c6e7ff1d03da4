/** Cuts are counted over so long. */
const WINDOW_MS = 10_000;
/** Up to so many are no crowd: they go on at once. */
const FEW = 5;
/** What the rest of a rollback costs the others, as measured with 200 at once on two cores; never more than the last. */
const PER_CUT_MS = 200;
const MOST_MS = 30_000;

/**
 * Rollbacks that begin in one worker at about the same time, as where something that all services share has failed. A cut
 * is four calls, the rest of a rollback five times that: all users are taken back before any canary is cleared away.
 */
export class Crowd {
  private readonly cameMs: number[] = [];

  came(nowMs: number): void {
    this.cameMs.push(nowMs);
  }

  /** How long the one that was just cut shall wait with the rest. */
  holdBackMs(nowMs: number): number {
    while ((this.cameMs[0] ?? Infinity) <= nowMs - WINDOW_MS) this.cameMs.shift();
    const many = this.cameMs.length;
    return many <= FEW ? 0 : Math.min(MOST_MS, many * PER_CUT_MS);
  }
}
