import { ARM_NAMES } from './validate.js';
import type { Arm, Weights } from '../domain/target.js';

/**
 * Draws arms so that after any number of requests each has had its share to within one: smooth weighted round robin,
 * as nginx has it. Random draws would add noise that the judge of a canary had to see through.
 */
export function createWeightedChoice(weights: Weights): () => Arm {
  const credit: Record<Arm, number> = { stable: 0, canary: 0, baseline: 0 };
  return function choose() {
    let chosen: Arm = 'stable';
    let most = -Infinity;
    for (const arm of ARM_NAMES) {
      if (weights[arm] <= 0) continue;
      credit[arm] += weights[arm];
      if (credit[arm] > most) {
        most = credit[arm];
        chosen = arm;
      }
    }
    credit[chosen] -= 100;
    return chosen;
  };
}
