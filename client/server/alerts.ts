import type { OnAlert } from '../../domain/policy.js';
import type { Actor, Phase } from '../../domain/rollout.js';
import { isBeforeCanary, isFinal } from '../../domain/rollout.js';
import { digestOf, shortDigest } from '../../domain/canonical.js';
import { redactSecrets } from '../../domain/redact.js';
import { searchAttributes } from '../../workflows/messages.js';
import type { SigningKey } from '../../formats/decision-token.js';
import type { RolloutRef, Slipway } from '../slipway.js';
import { signedDecision, sayDecision } from './decisions.js';
import type { Said } from './decisions.js';
import { ID_PATTERN } from './schemas.js';

/** What is read of Alertmanager's webhook. */
export interface Alert {
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly fingerprint: string;
}

/** What came of an alert, for the answer and the log. */
export interface Alerted {
  readonly fingerprint: string;
  readonly did: 'rolled-back' | 'held' | 'ignored' | 'recorded';
  readonly rolloutId: string | null;
  readonly text: string;
}

/** An alert that could not be acted upon now; said again it may be. For the log alone: `text` is what an exception says. */
export interface Undone {
  readonly fingerprint: string;
  readonly did: 'failed';
  /** Null: it could not be found out which rollouts it is about. */
  readonly rolloutId: string | null;
  readonly text: string;
}

const ALERTMANAGER: Actor = {
  subject: 'alertmanager',
  name: 'Alertmanager',
  groups: [],
  aliases: [],
  roles: ['deployer'],
  via: 'token',
  verified: false,
};
const MAX_ROLLOUTS = 50;

type Firing = Alert & { readonly service: string; readonly environment: string | undefined };

/** What an alert asks of a rollout. `asked`: by its own word; else by what Temporal keeps, for no worker told more. */
interface Look {
  readonly asked: boolean;
  readonly onAlert: OnAlert;
  readonly phase: Phase | null;
  /** Percent of the traffic that the canary gets; null where that is not known. */
  readonly share: number | null;
}

/**
 * Takes the canaries back (or holds them) of services that an alert names, as each rollout's policy says. The id of the
 * decision is made of fingerprint and start: Alertmanager says everything many times, and it counts once.
 *
 * Rollouts are handled side by side, so that one which nobody can speak to holds up no other; what several alerts say to
 * one rollout is said in turn, for Temporal takes few messages to a workflow at once.
 */
export async function handleAlerts(
  { slipway, key }: { readonly slipway: Slipway; readonly key: SigningKey },
  alerts: readonly Alert[],
): Promise<readonly (Alerted | Undone)[]> {
  const sorted = alerts.map(firing);
  const answers: (Alerted | Undone)[] = sorted.flatMap((one) => ('did' in one ? [one] : []));
  const told = new Map<string, { readonly ref: RolloutRef; readonly alerts: Firing[] }>();
  const services = grouped(
    sorted.flatMap((one) => ('did' in one ? [] : [one])),
    placeOf,
  );
  await Promise.all(
    services.map(async (same) => {
      const found = await tried(() => running(slipway, same[0]));
      for (const alert of same) {
        if ('failure' in found) answers.push(undone(alert, null, found.failure));
        else if (found.value.length === 0) answers.push(ignored(alert, `no rollout of ${placeOf(alert)} runs`));
        else
          for (const ref of found.value) {
            const known = told.get(ref.rolloutId) ?? { ref, alerts: [] };
            told.set(ref.rolloutId, known);
            known.alerts.push(alert);
          }
      }
    }),
  );
  const said = await Promise.all([...told.values()].map(({ ref, alerts: all }) => tell(slipway, key, ref, all)));
  return [...answers, ...said.flat()];
}

/** An alert that names something which could be ours, or why it does not. */
function firing(alert: Alert): Firing | Alerted {
  if (alert.status !== 'firing') return ignored(alert, 'it is resolved');
  const { service } = alert.labels;
  const environment = alert.labels['environment'] ?? alert.labels['env'];
  if (service === undefined) return ignored(alert, 'it has no label service');
  if (!ID_PATTERN.test(service) || (environment !== undefined && !ID_PATTERN.test(environment)))
    return ignored(alert, 'its labels name no service or environment of ours');
  return { ...alert, service, environment };
}

/** Says to one rollout what several alerts ask of it. It is looked at once: an answer that does not come takes 5 s. */
async function tell(
  slipway: Slipway,
  key: SigningKey,
  ref: RolloutRef,
  alerts: readonly Firing[],
): Promise<readonly (Alerted | Undone)[]> {
  const look = await tried(() => lookAt(slipway, ref));
  const answers: (Alerted | Undone)[] = [];
  for (const alert of alerts) {
    const done = 'failure' in look ? look : await tried(() => act(slipway, key, ref, alert, look.value));
    answers.push('failure' in done ? undone(alert, ref.rolloutId, done.failure) : done.value);
  }
  return answers;
}

async function act(
  slipway: Slipway,
  key: SigningKey,
  ref: RolloutRef,
  alert: Firing,
  look: Look | null,
): Promise<Alerted> {
  const { fingerprint } = alert;
  const { rolloutId } = ref;
  const why = look === null ? 'the rollout has not begun, or is over' : whyNot(look);
  if (look === null || why !== null) return ignored(alert, why ?? '', rolloutId);
  const verb = look.onAlert === 'hold' ? 'pause' : 'abort';
  const id = `alert-${shortDigest(digestOf({ fingerprint, startsAt: Date.parse(alert.startsAt) }))}`;
  const said = { id, verb, reason: reasonOf(alert) } as const;
  const decision = await signedDecision(key, rolloutId, said, ALERTMANAGER, Date.now());
  // Who did not answer a moment ago is not waited for again.
  const answer: Said | null = look.asked
    ? await sayDecision(slipway, ref, decision)
    : (await slipway.record(ref, decision))
      ? { kind: 'recorded' }
      : null;
  if (answer === null) return ignored(alert, 'the rollout is over', rolloutId);
  if (answer.kind === 'recorded')
    return {
      fingerprint,
      did: 'recorded',
      rolloutId,
      text: `no worker answers: the ${verb} counts as soon as one does`,
    };
  const { receipt } = answer;
  if (receipt.kind === 'refused') return ignored(alert, receipt.text, rolloutId);
  return { fingerprint, did: verb === 'pause' ? 'held' : 'rolled-back', rolloutId, text: receipt.text };
}

/**
 * By the lane where it is known which: search may not know yet of what began a moment ago. By search also where the lane
 * does not answer: that needs no worker.
 */
async function running(slipway: Slipway, { service, environment }: Firing): Promise<readonly RolloutRef[]> {
  const { service: name, environment: place } = searchAttributes;
  const query = `${name.name} = '${service}' AND ExecutionStatus = 'Running'`;
  if (environment === undefined) return searched(slipway, query);
  const lane = { environment, service };
  const view = await tried(() => slipway.lane(lane));
  if ('failure' in view) return searched(slipway, `${query} AND ${place.name} = '${environment}'`);
  const rolloutId = view.value?.running ?? null;
  return rolloutId === null ? [] : [{ lane, rolloutId }];
}

async function searched(slipway: Slipway, query: string): Promise<readonly RolloutRef[]> {
  const runs = await slipway.list(query, MAX_ROLLOUTS);
  return runs.map(({ environment, service, rolloutId }) => ({ lane: { environment, service }, rolloutId }));
}

/** Null: it does not run (yet, or any more). */
async function lookAt(slipway: Slipway, ref: RolloutRef): Promise<Look | null> {
  const found = await tried(() => slipway.find(ref));
  if (!('failure' in found)) {
    if (found.value.kind !== 'running') return null;
    const { policy, phase, weights } = found.value.view;
    return { asked: true, onAlert: policy.onAlert ?? 'rollback', phase, share: weights?.canary ?? 0 };
  }
  const kept = await slipway.kept(ref);
  if (kept === null) return null;
  return { asked: false, onAlert: kept.request.policy.onAlert ?? 'rollback', phase: kept.phase, share: null };
}

/** Null: the alert is about what this rollout does, as far as that is known. */
function whyNot({ onAlert, phase, share }: Look): string | null {
  if (phase !== null && (isFinal(phase) || phase === 'rolling-back')) return `the rollout is ${phase} already`;
  if (onAlert === 'ignore') return 'the policy says onAlert: ignore';
  if (phase !== null && (isBeforeCanary(phase) || (phase === 'canary' && share === 0)))
    return 'its canary has no traffic yet';
  return null;
}

function ignored({ fingerprint }: Alert, text: string, rolloutId: string | null = null): Alerted {
  return { fingerprint, did: 'ignored', rolloutId, text };
}

function undone({ fingerprint }: Alert, rolloutId: string | null, failure: unknown): Undone {
  const text = failure instanceof Error ? failure.message : String(failure);
  return { fingerprint, did: 'failed', rolloutId, text };
}

/** What Alertmanager is told, so that it says the same again. */
export function undoneText(undones: readonly Undone[], of: number): string {
  const rollouts = [...new Set(undones.map(({ rolloutId }) => rolloutId).filter((id) => id !== null))];
  const which =
    rollouts.length === 0 ? '' : ` (of ${rollouts.length === 1 ? 'rollout' : 'rollouts'} ${rollouts.join(', ')})`;
  return `${undones.length} of ${of} could not be done${which}; what else was to be done is done`;
}

function placeOf({ service, environment }: Firing): string {
  return environment === undefined ? service : `${service} in ${environment}`;
}

type Tried<T> = { readonly value: T } | { readonly failure: unknown };

/** Whatever fails for one rollout must not keep the rest from being done: here it is a value like any other. */
async function tried<T>(work: () => Promise<T>): Promise<Tried<T>> {
  try {
    return { value: await work() };
  } catch (failure) {
    return { failure };
  }
}

/** Those of one key together, in their order. */
function grouped<T>(items: readonly T[], keyOf: (item: T) => string): readonly (readonly [T, ...T[]])[] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const item of items) {
    const known = groups.get(keyOf(item));
    if (known === undefined) groups.set(keyOf(item), [item]);
    else known.push(item);
  }
  return [...groups.values()];
}

function reasonOf({ labels, annotations }: Alert): string {
  const name = labels['alertname'] ?? 'an alert';
  const summary = annotations['summary'] ?? annotations['description'] ?? '';
  const said = `${name} fires${summary === '' ? '' : `: ${summary}`}`;
  return redactSecrets(said.replace(/[\u0000-\u001f\u007f]+/g, ' ')).slice(0, 500);
}
