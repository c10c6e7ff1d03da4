const SQRT_PI = Math.sqrt(Math.PI);

/** z of a one-sided 95 % bound. */
export const Z_95 = 1.6448536269514722;

/**
 * The complementary error function, 1 - erf(x), with a relative error below 1e-13 for as long as the result is a normal
 * double (x < 26). Sources: Abramowitz and Stegun 7.1.6 (series) and 7.1.14 (continued fraction).
 */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  // The series has positive terms only, but 1 - erf loses digits as erf nears 1; from 2 on the fraction converges fast.
  return x < 2 ? 1 - erfBySeries(x) : erfcByFraction(x);
}

function erfBySeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / SQRT_PI) * Math.exp(-x * x) * sum;
}

function erfcByFraction(x: number): number {
  let tail = x;
  for (let k = 80; k >= 1; k--) tail = x + k / 2 / tail;
  return Math.exp(-x * x) / (SQRT_PI * tail);
}

/** P(Z > z) of the standard normal distribution, accurate far into the tail. */
export function normalUpperTail(z: number): number {
  return erfc(z / Math.SQRT2) / 2;
}

/** P(Z <= z) of the standard normal distribution. */
export function normalCdf(z: number): number {
  return normalUpperTail(-z);
}

/** The z with P(Z <= z) = probability, by bisection: exact to rounding, for probabilities of 1e-300 to 1 - 1e-16. */
export function normalQuantile(probability: number): number {
  if (!(probability > 0 && probability < 1))
    throw new RangeError(`a probability must be above 0 and below 1, not ${probability}`);
  let low = -40;
  let high = 40;
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
