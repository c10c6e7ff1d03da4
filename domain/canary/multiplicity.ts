/**
 * p-values of several tests, adjusted for their number: each may be held against the level that one test alone would have.
 * In the order in which they were given.
 */

/**
 * Holm's step-down method: the probability of even one false alarm among all tests stays below the level, however they
 * depend on each other (Holm, 1979).
 *
 * @throws RangeError for a p that is not between 0 and 1.
 */
export function holm(ps: readonly number[]): readonly number[] {
  const order = ascending(ps);
  const adjusted = Array.from(ps, () => 1);
  let largest = 0;
  for (const [rank, index] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (ps.length - rank) * ps[index]!));
    adjusted[index] = largest;
  }
  return adjusted;
}

/**
 * Benjamini and Hochberg's step-up method (1995): of all alarms, the expected share of false ones stays below the level,
 * for tests that are independent or depend positively on each other. For what is shown to people, not for what acts.
 *
 * @throws RangeError as `holm`.
 */
export function benjaminiHochberg(ps: readonly number[]): readonly number[] {
  const order = ascending(ps);
  const adjusted = Array.from(ps, () => 1);
  let smallest = 1;
  for (const [rank, index] of [...order.entries()].reverse()) {
    smallest = Math.min(smallest, (ps.length / (rank + 1)) * ps[index]!);
    adjusted[index] = smallest;
  }
  return adjusted;
}

function ascending(ps: readonly number[]): readonly number[] {
  const wrong = ps.find((p) => !(p >= 0 && p <= 1));
  if (wrong !== undefined) throw new RangeError(`a p-value must be between 0 and 1, not ${wrong}`);
  return [...ps.keys()].sort((a, b) => ps[a]! - ps[b]!);
}
