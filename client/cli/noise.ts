import path from 'node:path';
import { halvesOf, learnNoiseFloor } from '../../domain/canary/learn-noise.js';
import { metricPolicy } from '../../domain/canary/defaults.js';
import { noiseRatios, withNoise } from '../../domain/canary/noise-floor.js';
import type { Recording } from '../../domain/canary/replay.js';
import type { MetricNoise, NoiseFloor } from '../../domain/canary/types.js';
import { amount, count, times } from '../../domain/words.js';
import { casesBelow, folderOf } from '../judging/folder.js';
import type { Found } from '../judging/folder.js';
import { verdictOf } from '../judging/judgement.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { plain } from './render.js';

export interface NoiseOptions {
  readonly service?: string;
  readonly env?: string;
  readonly evidence?: string;
  /** Learn from halves of the comparison's pods, too. */
  readonly halves?: boolean;
}

/** Of one service in one environment; more than that says nothing new, and samples are held in memory. */
const MOST_PAIRS = 200;

/**
 * `slipway noise DIR`: how far apart arms of one version are at a service, from the stages of past rollouts that were
 * promoted and completed; printed as what `analysis.noiseFloor` takes.
 */
export async function noise(context: CliContext, dir: string, options: NoiseOptions): Promise<CommandResult> {
  const root = await folderOf(context, dir);
  const evidence = options.evidence === undefined ? [] : [path.resolve(context.cwd, options.evidence)];
  const pairs: Recording[] = [];
  const services = new Set<string>();
  let passedOver = 0;
  for await (const found of casesBelow(root, evidence)) {
    if (context.signal.aborted) return done(null, 130);
    if (found.kind === 'problem' && !context.json)
      context.note(`passed over: ${plain(found.name)}: ${plain(found.problem)}`);
    const good = found.kind === 'case' && isGood(found, options) ? found : null;
    if (good === null) {
      passedOver++;
      continue;
    }
    if (good.rollout !== null) services.add(`${good.rollout.service} in ${good.rollout.environment}`);
    const { recording, untilMs } = good.subject;
    pairs.push({ ...recording, durationMs: Math.min(recording.durationMs, untilMs - recording.startMs) });
    const halves = options.halves === true ? halvesOf(recording) : null;
    if (halves !== null) pairs.push(halves);
    if (pairs.length >= MOST_PAIRS) break;
  }
  if (services.size > 1)
    throw usage(
      `${dir} holds rollouts of several services: ${[...services].join(', ')}`,
      'name one with --service and --env: the noise of one says nothing of another',
    );
  const floor = learnNoiseFloor(pairs);
  if (floor === null)
    throw usage(
      `${dir} holds ${count(pairs.length)} stages that were promoted and have enough traffic to be compared: 5 are needed`,
      'wait for more good rollouts, or add --halves to learn from the pods of each baseline, too',
    );
  const text = yamlOf(floor);
  if (!context.json) {
    for (const line of sayingOf(floor, passedOver)) context.note(line);
    for (const line of text) context.out(line);
  }
  return done({ noiseFloor: floor, passedOver, yaml: text.join('\n') });
}

/** A stage that was promoted, of a rollout that completed as far as its record is there. */
function isGood({ subject, rollout }: Extract<Found, { kind: 'case' }>, { service, env }: NoiseOptions): boolean {
  if (rollout !== null && rollout.outcome !== 'completed') return false;
  if (service !== undefined && rollout?.service !== service) return false;
  if (env !== undefined && rollout?.environment !== env) return false;
  return (subject.recorded ?? verdictOf(subject)).kind === 'PROMOTE';
}

function sayingOf(floor: NoiseFloor, passedOver: number): readonly string[] {
  const { latency, errors } = noiseRatios({ noiseFloor: floor, errorBudget: 0.01 });
  return [
    `learned from ${count(floor.pairs)} pairs of arms that were alike (${count(passedOver)} documents passed over)`,
    `with an error budget of 1 %, a canary may have ${times(latency)} the p99 and ${times(errors)} the error rate of its comparison for no other reason`,
    ...Object.entries(floor.metrics ?? {}).map(([name, noise]) => metricSaying(name, noise, floor)),
    'write this under `analysis` in slipway.yaml, and learn it again when the service or its nodes have changed:',
  ];
}

function metricSaying(name: string, { pairs, kind }: MetricNoise, noiseFloor: NoiseFloor): string {
  const none = kind === 'ratio' ? ({ kind, ratio: 1 } as const) : ({ kind, difference: 0 } as const);
  const { tolerance } = withNoise({ ...metricPolicy(name), tolerance: none }, { noiseFloor, errorBudget: 0.01 });
  const apart = tolerance.kind === 'ratio' ? times(tolerance.ratio) : `${amount(tolerance.difference)} more than`;
  return `and ${apart} the ${plain(name)} (${count(pairs)} pairs)`;
}

function yamlOf({ pairs, latencyLogSd, errorLogSd, metrics = {} }: NoiseFloor): readonly string[] {
  const share = (value: number): string => `${Number((100 * value).toPrecision(3))}%`;
  const further = Object.entries(metrics).map(([name, noise]) => {
    const value = noise.kind === 'ratio' ? share(noise.sd) : String(Number(noise.sd.toPrecision(3)));
    return `    ${quoted(name)}: { pairs: ${noise.pairs}, ${noise.kind}: ${value} }`;
  });
  return [
    'noiseFloor:',
    `  pairs: ${pairs}`,
    `  p99: ${share(latencyLogSd)}`,
    `  errorRate: ${share(errorLogSd)}`,
    ...(further.length === 0 ? [] : ['  metrics:', ...further]),
  ];
}

/** A name as YAML, which reads JSON's quotes; what could command a terminal is escaped. */
function quoted(name: string): string {
  return JSON.stringify(name).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
