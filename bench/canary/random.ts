/** Seeded random numbers and what is drawn with them. */

/** A stream of numbers in [0, 1). */
export type Random = () => number;

/** Seeded random numbers in [0, 1) (mulberry32): the same seed gives the same stream on any machine. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A seed for one thing of many: a name and a number mixed into `seed` (FNV-1a, 32 bits), so that a set keeps its members
 * when others are added.
 */
export function seedFor(seed: number, name: string, index: number): number {
  let hash = 0x811c9dc5;
  for (const char of `${seed}/${name}/${index}`) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193);
  return hash >>> 0;
}

export function uniform(from: number, to: number, random: Random): number {
  return from + (to - from) * random();
}

/** Uniform in the logarithm: as often between 1 and 10 as between 10 and 100. */
export function logUniform(from: number, to: number, random: Random): number {
  return from * (to / from) ** random();
}

export function oneOf<const T>(values: readonly [T, ...T[]], random: Random): T {
  return values[Math.floor(random() * values.length)] ?? values[0];
}

/** Standard normal (Box and Muller, 1958). */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

const POISSON_EXACT_UP_TO = 30;

/** Poisson: by products of uniforms (Knuth, The Art of Computer Programming, volume 2, 3.4.1), above a mean of 30 by the normal approximation. */
export function poisson(mean: number, random: Random): number {
  if (mean > POISSON_EXACT_UP_TO) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal(random)));
  const floor = Math.exp(-mean);
  let events = 0;
  for (let product = random(); product > floor; product *= random()) events++;
  return events;
}

const BINOMIAL_EXACT_UP_TO = 25;

/**
 * Binomial: by inversion, walking up from 0 by the ratio of neighbouring probabilities (Kachitvichyanukul and Schmeiser,
 * Communications of the ACM 31, 1988, algorithm BINV); above 25 expected events (on the rarer side) by the normal
 * approximation, whose error in the distribution function is below 0.02 there (Berry and Esseen bound it by
 * 0.41 / sqrt(25)).
 */
export function binomial(n: number, share: number, random: Random): number {
  if (n <= 0 || share <= 0) return 0;
  if (share >= 1) return n;
  if (share > 0.5) return n - binomial(n, 1 - share, random);
  const mean = n * share;
  if (mean > BINOMIAL_EXACT_UP_TO) {
    const drawn = Math.round(mean + Math.sqrt(mean * (1 - share)) * normal(random));
    return Math.min(n, Math.max(0, drawn));
  }
  const odds = share / (1 - share);
  let probability = (1 - share) ** n;
  let left = random() - probability;
  let events = 0;
  while (left > 0 && events < n) {
    events++;
    probability *= (odds * (n - events + 1)) / events;
    // Rounding may leave a rest that no probability is left for.
    if (probability < 1e-300) break;
    left -= probability;
  }
  return events;
}
