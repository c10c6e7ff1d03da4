import { MARGIN_OF_RATE } from './compare-errors.js';
import { earliestEndMs } from './early-promotion.js';
import { effectOf, isTested } from './effects.js';
import { noiseRatios } from './noise-floor.js';
import { evidenceOf, countsWithin } from './series.js';
import type { AnalysisPolicy, JudgeInput, MetricFinding, Verdict } from './types.js';
import { amount, apart, count, durationText, percent, plural, points, probability, seconds, times } from '../words.js';

/** A verdict with or without the digest of what was judged. */
export type Said = Omit<Verdict, 'inputDigest'>;

/**
 * What would have made the verdict another one, in sentences for a tired person: of a ROLLBACK what each metric that
 * tipped it would have had to be; of a HOLD what is still needed, in requests or time; of a PROMOTE how far off a
 * ROLLBACK was. With the samples (`input`) needs are said in requests and time.
 */
export function whatWouldChange(verdict: Said, input: JudgeInput | null = null): readonly string[] {
  switch (verdict.kind) {
    case 'ROLLBACK':
      return rolledBack(verdict);
    case 'PROMOTE':
      return promoted(verdict);
    case 'HOLD':
      return held(verdict, input);
  }
}

/** Holds for the sake of a finding; others are for want of data or time. */
const OPEN_FINDINGS: readonly Said['hold'][] = ['inconclusive', 'shared-incident', 'split-mismatch'];

/** The findings that asked for the rollback or the hold, the one that the verdict's sentence tells of first. */
export function tippedBy(verdict: Said): readonly MetricFinding[] {
  const guilty = verdict.findings.filter((finding) => finding.verdict === verdict.kind);
  if (verdict.kind === 'PROMOTE' || (verdict.hold !== null && !OPEN_FINDINGS.includes(verdict.hold))) return [];
  return guilty.toSorted((a, b) => Number(b.why === verdict.summary) - Number(a.why === verdict.summary));
}

function rolledBack(verdict: Said): readonly string[] {
  const guilty = tippedBy(verdict).filter((finding) => isTested(finding) || isOfValues(finding));
  const sentences = guilty.map((finding) => {
    const limit = limitOf(finding);
    if (finding.metric === 'hard-limit') return `${limit} would not have been a rollback by this limit.`;
    const [alpha, seen] = apart(probability, finding.alpha ?? 0, finding.p ?? 0);
    const p = `p of ${alpha} or more (it was ${seen})`;
    // The asked-for rule rolls back for either reason, the others for both together.
    const join = verdict.judge === 'mann-whitney' ? 'and' : 'or';
    return `${limit}, ${join} a ${p}, would not have been a rollback by ${nameOf(finding)}.`;
  });
  if (sentences.length < 2) return sentences;
  return [...sentences, `All ${count(sentences.length)} would have had to be otherwise: each alone is enough.`];
}

/** `A rise below 0.2 points`. */
function limitOf(finding: MetricFinding): string {
  const { effect, threshold, unit } = finding;
  if (isOfValues(finding)) {
    const [own, other] = apart(amount, finding.canary ?? 0, finding.comparison ?? 0);
    return `A value nearer to the comparison's (it was ${own} against ${other})`;
  }
  if (threshold === null) return 'Another value';
  if (finding.metric === 'hard-limit') {
    const [limit, was] = apart(unit === 'seconds' ? seconds : percent, threshold, finding.canary ?? 0);
    return `A canary below ${limit} (it was at ${was})`;
  }
  if (unit === 'ratio') return `A rise below ${points(threshold)} (it was ${points(effect ?? 0)})`;
  return `A ratio below ${times(threshold)} (it was ${effect === null ? 'beyond all bounds' : times(effect)})`;
}

/** Of a further metric, by ranks: what its effect is a ratio or a difference of, only its own sentence says. */
function isOfValues({ unit, test }: MetricFinding): boolean {
  return unit === 'value' && test === 'mann-whitney';
}

function nameOf({ metric }: MetricFinding): string {
  if (metric === 'error-rate') return 'the error rate';
  if (metric === 'latency-p99') return 'the p99 latency';
  return metric;
}

function promoted(verdict: Said): readonly string[] {
  return comparedIn(verdict).map((finding) => {
    const { threshold, unit, alpha, effect, p } = finding;
    const rise = unit === 'ratio' ? `a rise of ${points(threshold ?? 0)}` : `${times(threshold ?? 0)} the comparison`;
    const was = unit === 'ratio' ? points(effect ?? 0) : times(effect ?? Infinity);
    return (
      `A rollback by ${nameOf(finding)} would have taken ${rise} or more (it was ${was}), with p below ` +
      `${probability(alpha ?? 0)} (it was ${probability(p ?? 1)}).`
    );
  });
}

/** The first finding of each metric that compares the arms: that of the whole stage. */
function comparedIn(verdict: Said): readonly MetricFinding[] {
  const seen = new Set<string>();
  return verdict.findings.filter((finding) => {
    const { metric, p, threshold } = finding;
    if (!isTested(finding) || metric === 'hard-limit' || metric === 'traffic-split' || p === null || threshold === null)
      return false;
    return !seen.has(metric) && seen.add(metric);
  });
}

/** Whether the asked-for rule has made its last check, and that left something open. */
function isOpenForEver({ judge, look, findings }: Said, input: JudgeInput | null): boolean {
  if (judge !== 'mann-whitney' || input === null || look < input.policy.mannWhitney.checks) return false;
  return findings.length === 0 || findings.some(({ verdict, advisory }) => verdict === 'HOLD' && advisory !== true);
}

function held(verdict: Said, input: JudgeInput | null): readonly string[] {
  if (verdict.hold !== null && ['watching', 'inconclusive'].includes(verdict.hold) && isOpenForEver(verdict, input)) {
    const checks = plural(input!.policy.mannWhitney.checks, 'check');
    return [
      `Only a person: the rule makes ${checks} and looks at nothing that comes later. For other rollouts: more of them (mannWhitney.checks), or more traffic.`,
    ];
  }
  switch (verdict.hold) {
    case 'watching': {
      const end = input === null ? null : input.startMs + input.durationMs - verdict.atMs;
      const left = end === null || end <= 0 ? "the stage's end" : `the stage's end in ${durationText(end)}`;
      const from = input === null ? null : earliestEndMs(input.policy, input.durationMs);
      const early =
        from === null ? '' : `, or at a look from ${durationText(from)} on that shows each metric within its margin`;
      return [`Time: a PROMOTE comes with ${left}${early}, if nothing is found until then.`, ...promoted(verdict)];
    }
    case 'insufficient-data':
      return input === null ? ['More requests: the sentence above says how many.'] : [moreRequests(verdict, input)];
    case 'no-data':
      return ['Samples: see that the arm runs, gets traffic and is scraped, and that the queries name it.'];
    case 'shared-incident':
      return [
        'A comparison that keeps the limit while the canary crosses it would be a ROLLBACK; both within it, and the watch goes on.',
      ];
    case 'split-mismatch': {
      const split = verdict.findings.find((finding) => finding.metric === 'traffic-split');
      const wanted = split === undefined ? null : (split.canary ?? 0) - (split.effect ?? 0);
      const share = wanted === null ? 'the share that was set' : `${percent(wanted)} of the requests`;
      return [`Traffic: the canary must get ${share}, to within ${points(split?.threshold ?? 0)}.`];
    }
    case 'inconclusive':
    case null:
      return inconclusive(verdict, input);
  }
}

function moreRequests(verdict: Said, input: JudgeInput): string {
  const { policy, startMs } = input;
  const fromMs = startMs + policy.warmUpMs;
  const needed = Math.max(1, policy.minRequests);
  const arms = [
    { name: 'canary', samples: input.canary },
    ...(input.comparison === null ? [] : [{ name: 'comparison', samples: input.comparison }]),
  ];
  const parts = arms.flatMap(({ name, samples }) => {
    const { requests } = countsWithin(evidenceOf(samples, verdict.atMs), fromMs, verdict.atMs, fromMs);
    if (requests >= needed) return [];
    const elapsedMs = verdict.atMs - fromMs;
    const leftMs = requests === 0 || elapsedMs <= 0 ? null : ((needed - requests) * elapsedMs) / requests;
    const time =
      leftMs === null ? 'it had none so far' : `about ${durationText(leftMs)} at its ${perSecond(requests, elapsedMs)}`;
    return [`${count(needed - requests)} more requests on the ${name} (${time})`];
  });
  if (parts.length === 0) {
    return `More samples: a longer stage than ${durationText(input.durationMs)}, or shorter times of the judge (warm-up ${durationText(policy.warmUpMs)}).`;
  }
  return `Still needed: ${parts.join('; ')}.`;
}

function perSecond(requests: number, ms: number): string {
  const rate = (1000 * requests) / ms;
  return `${Number(rate.toPrecision(2))} requests/s`;
}

function inconclusive(verdict: Said, input: JudgeInput | null): readonly string[] {
  const open = verdict.findings.filter(({ verdict, advisory }) => verdict === 'HOLD' && advisory !== true);
  if (open.length === 0) return ['Data on both arms at the same time.'];
  return open.map((finding) => {
    if (isOfValues(finding) && finding.p !== null) {
      const [own, other] = apart(amount, finding.canary ?? 0, finding.comparison ?? 0);
      return (
        `For a PROMOTE by ${nameOf(finding)}: more time, or values nearer to the comparison's (${own} against ${other}). ` +
        `A ROLLBACK takes p below ${probability(finding.alpha ?? 0)} (now p = ${probability(finding.p)}).`
      );
    }
    if (finding.effect === null || !isTested(finding)) return `For a PROMOTE by ${nameOf(finding)}: ${finding.why}`;
    const effect = input === null ? null : effectOf(finding, input);
    const margin = input === null ? null : marginOf(finding, input.policy);
    const show = (value: number) => (effect?.kind === 'difference' ? points(value) : times(value));
    const rollback =
      `a ROLLBACK takes ${finding.unit === 'ratio' ? points(finding.threshold ?? 0) : times(finding.threshold ?? 0)} or more with p below ` +
      `${probability(finding.alpha ?? 0)} (now p = ${probability(finding.p ?? 1)})`;
    if (effect === null || margin === null || effect.upper === null) {
      return `More requests, for ${nameOf(finding)} to be told from its limit: ${rollback}.`;
    }
    const scale = effect.kind === 'difference' ? (value: number) => value : Math.log;
    const room = scale(margin) - scale(effect.value);
    const upTo = `rises up to ${show(effect.upper)} are within the 95 % interval, where ${show(margin)} may remain`;
    if (room <= 0) {
      return `For a PROMOTE, ${nameOf(finding)} is itself beyond what may remain (${show(effect.value)} against ${show(margin)}): only lower values would do; ${rollback}.`;
    }
    const factor = ((scale(effect.upper) - scale(effect.value)) / room) ** 2;
    const spentMs = verdict.atMs - (input!.startMs + input!.policy.warmUpMs);
    const more =
      factor > 1
        ? `about ${Number(factor.toPrecision(2))} times the requests, ${durationText((factor - 1) * spentMs)} more at this traffic, would settle it if the effect stays as it is`
        : 'a little more data would settle it if the effect stays as it is';
    return `For a PROMOTE by ${nameOf(finding)}: ${upTo}; ${more}. And ${rollback}.`;
  });
}

/** What may remain unseen in a PROMOTE, where the policy says it in the finding's own terms. */
function marginOf(finding: MetricFinding, policy: AnalysisPolicy): number | null {
  if (policy.judge !== 'sequential') return null;
  const noise = noiseRatios(policy);
  if (finding.unit === 'ratio') {
    const ofRate = Math.max(MARGIN_OF_RATE, noise.errors - 1) * (finding.comparison ?? 0);
    return Math.max(policy.errorMargin, ofRate);
  }
  return finding.unit === 'seconds' ? Math.max(policy.latencyMargin, noise.latency) : null;
}
