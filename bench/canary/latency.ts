import { normalCdf } from '../../domain/canary/normal.js';

/** How long requests take: a mixture of parts, whose weights add up to 1. */
export type LatencyShape = readonly LatencyPart[];

export type LatencyPart = LogNormalPart | ParetoPart;

interface LogNormalPart {
  readonly weight: number;
  readonly medianMs: number;
  /** Standard deviation of the logarithm: 0.3 is narrow, 1.2 has a p99 of 16 times the median. */
  readonly sigma: number;
}

/** A tail that falls as x^-alpha: without a variance below 2. */
interface ParetoPart {
  readonly weight: number;
  readonly minMs: number;
  readonly alpha: number;
}

/** A share of the requests takes so many times as long as the shape says. */
export interface Slowing {
  readonly share: number;
  readonly factor: number;
}

const GRID_STEP = 1 / 512;
const GRID_END = 8;
/** The normal distribution function on a grid: a simulation asks for it thousands of times a rollout. Off by 1e-7 at most. */
const grid = Float64Array.from({ length: (2 * GRID_END) / GRID_STEP + 2 }, (_, i) =>
  normalCdf(i * GRID_STEP - GRID_END),
);

function normalCdfFromGrid(z: number): number {
  if (z <= -GRID_END) return 0;
  if (z >= GRID_END) return 1;
  const at = (z + GRID_END) / GRID_STEP;
  const below = Math.floor(at);
  return grid[below]! + (at - below) * (grid[below + 1]! - grid[below]!);
}

/**
 * The shares of requests that take at most as long as each of the bounds, written into `into`.
 *
 * @param logBoundsMs natural logarithms of the bounds in ms, ascending
 */
export function shareWithin(
  logBoundsMs: readonly number[],
  shape: LatencyShape,
  slowings: readonly Slowing[],
  into: Float64Array,
): void {
  into.fill(0);
  for (const { share, factor } of slowings) {
    const shift = Math.log(factor);
    for (const part of shape) {
      const weight = share * part.weight;
      for (const [k, bound] of logBoundsMs.entries()) {
        into[k]! += weight * ('sigma' in part ? logNormal(part, bound - shift) : pareto(part, bound - shift));
      }
    }
  }
}

function logNormal({ medianMs, sigma }: LogNormalPart, logMs: number): number {
  return normalCdfFromGrid((logMs - Math.log(medianMs)) / sigma);
}

function pareto({ minMs, alpha }: ParetoPart, logMs: number): number {
  return Math.max(0, 1 - Math.exp(-alpha * (logMs - Math.log(minMs))));
}

/** The latency that all but a hundredth of the requests keep, ms. */
export function p99Of(shape: LatencyShape): number {
  let [low, high] = [Math.log(0.01), Math.log(1e7)];
  const within = new Float64Array(1);
  while (high - low > 1e-6) {
    const middle = (low + high) / 2;
    shareWithin([middle], shape, [{ share: 1, factor: 1 }], within);
    if (within[0]! < 0.99) low = middle;
    else high = middle;
  }
  return Math.exp(high);
}
