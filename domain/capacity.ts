/** Whether stable can take all users back: what is weighed before they are sent there. Pure. */
import { percentText } from './words.js';
import type { ArmState, RecordedStable, TargetSnapshot, Weights } from './target.js';

/**
 * So many replicas do for a while what `replicas` did. A service stands the loss of one of them at any time, and, by
 * Kubernetes' own default, that of a quarter (rounded down) whenever its pods are replaced: each of the others then has a
 * third more to do, or in a small service what the one had.
 */
export function leastFor(replicas: number): number {
  return Math.max(1, replicas - Math.max(1, Math.floor(replicas / 4)));
}

/** Where stable has this share of the traffic already, in percent, all of it is a third more at most: for whatever of it serves. */
const NEARLY_ALL = 75;

/** Replicas that can serve, and will: those above the size are about to be taken away. */
function serving(arm: Pick<ArmState, 'ready' | 'replicas'> | undefined): number {
  return arm === undefined ? 0 : Math.min(arm.ready, arm.replicas);
}

/** Where it is not known what can serve, right after a fence was written, nobody is taken from there because of that. */
function atMost(arm: ArmState | undefined): number {
  return arm?.unseen === true ? arm.replicas : serving(arm);
}

/** Why stable, as it runs what was recorded, can't take all users at once; null where it can. */
export function lackOf(
  stable: Pick<ArmState, 'ready' | 'replicas'> | undefined,
  { replicas }: Pick<RecordedStable, 'replicas'>,
  weights: Weights | null,
): string | null {
  const ready = serving(stable);
  if (ready === 0) return 'none of its replicas can serve';
  const least = leastFor(replicas);
  if (ready >= least || (weights !== null && weights.stable >= NEARLY_ALL)) return null;
  return `${ready} of its replicas can serve, and ${least} of the ${replicas} that it had are needed to take all users`;
}

/** Who has which share of the users, in percent: by the weights, or where there are none by what can serve. Null: nobody. */
export function sharesOf({ arms, weights }: Pick<TargetSnapshot, 'arms' | 'weights'>): Weights | null {
  if (weights !== null) return weights;
  const [stable, canary, baseline] = [serving(arms.stable), atMost(arms.canary), atMost(arms.baseline)];
  const all = stable + canary + baseline;
  const share = (serve: number): number => (100 * serve) / all;
  return all === 0 ? null : { stable: share(stable), canary: share(canary), baseline: share(baseline) };
}

const SIBLINGS = ['canary', 'baseline'] as const;

/** Siblings that users are sent to; where no weights are known, those that stand. */
function inUse({ arms, weights }: Pick<TargetSnapshot, 'arms' | 'weights'>): readonly (typeof SIBLINGS)[number][] {
  return SIBLINGS.filter((arm) => (weights === null ? (arms[arm]?.replicas ?? 0) > 0 : weights[arm] > 0));
}

/** Whether users are sent past stable. */
export function isAway(snapshot: Pick<TargetSnapshot, 'arms' | 'weights'>): boolean {
  return inUse(snapshot).length > 0;
}

/**
 * Why users lose nothing by going to stable though it can't take all of them well; null: they have more where they are.
 * What each replica has of those who would move is compared with what each of stable's would then have of all.
 */
export function nothingToLose(snapshot: Pick<TargetSnapshot, 'arms' | 'weights' | 'recorded'>): string | null {
  const { arms, weights, recorded } = snapshot;
  const there = inUse(snapshot).reduce((sum, arm) => sum + atMost(arms[arm]), 0);
  if (there === 0) return 'nobody can answer where they are';
  const here = arms.stable?.templateDigest === recorded?.templateDigest ? serving(arms.stable) : 0;
  if (weights === null) return null;
  const away = 100 - weights.stable;
  return here * away >= there * 100
    ? `${here} of its replicas can serve, and where they are ${there} have ${percentText(away)} of the traffic`
    : null;
}
