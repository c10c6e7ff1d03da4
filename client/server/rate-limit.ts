import { ApiProblem } from './problems.js';

export interface Limit {
  /** Requests that may come at once. */
  readonly burst: number;
  /** Requests that may come in each second, for ever. */
  readonly perSecond: number;
}

const MAX_BUCKETS = 20_000;

/** A token bucket for each caller. In this process only: a limit against accidents and guessing, not a quota. */
export class RateLimit {
  private readonly buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(
    private readonly limit: Limit,
    private readonly now: () => number = Date.now,
  ) {}

  /** @throws ApiProblem `rate-limited`, with Retry-After in seconds */
  take(key: string): void {
    const { burst, perSecond } = this.limit;
    const atMs = this.now();
    const before = this.buckets.get(key) ?? { tokens: burst, atMs };
    const tokens = Math.min(burst, before.tokens + ((atMs - before.atMs) / 1000) * perSecond);
    // Newest last: the oldest are full again, or nearly so.
    this.buckets.delete(key);
    if (this.buckets.size >= MAX_BUCKETS) this.buckets.delete(this.buckets.keys().next().value ?? '');
    if (tokens < 1) {
      this.buckets.set(key, { tokens, atMs });
      const seconds = Math.max(1, Math.ceil((1 - tokens) / perSecond));
      throw new ApiProblem('rate-limited', `more than ${burst} requests at once, or ${perSecond} a second`, {
        headers: { 'Retry-After': String(seconds) },
      });
    }
    this.buckets.set(key, { tokens: tokens - 1, atMs });
  }
}
