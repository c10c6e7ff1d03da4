/** Cuts are counted over so long. */
const WINDOW_MS = 10_000;
/** Up to so many are no crowd: they go on at once. */
const FEW = 5;
/** Where no other came for so long, all have been. */
const QUIET_MS = 2000;
/** Nobody waits longer for the others. */
const MOST_MS = 10_000;

/**
 * Canaries that fail in one worker at about the same time, as where something that all services share has failed. A cut
 * is four calls, the rest of a rollback ten times that work: all users are taken back before any canary is cleared away.
 */
export class Crowd {
  private readonly cameMs: number[] = [];

  came(nowMs: number): void {
    this.cameMs.push(nowMs);
  }

  /** How much longer the one that was cut at an instant shall wait with the rest. Others may come meanwhile: ask again. */
  leftMs(cutMs: number, nowMs: number): number {
    while ((this.cameMs[0] ?? Infinity) <= nowMs - WINDOW_MS) this.cameMs.shift();
    const last = this.cameMs.at(-1);
    if (last === undefined || this.cameMs.length <= FEW) return 0;
    return Math.max(0, Math.min(last + QUIET_MS, cutMs + MOST_MS) - nowMs);
  }
}
