import type { Actor, RolloutView } from '../../domain/rollout.js';
import { isBeforeCanary, isFinal } from '../../domain/rollout.js';
import { digestOf, shortDigest } from '../../domain/canonical.js';
import { redactSecrets } from '../../domain/redact.js';
import { searchAttributes } from '../../workflows/messages.js';
import type { SigningKey } from '../../formats/decision-token.js';
import type { RolloutRef, Slipway } from '../slipway.js';
import { signedDecision, sayDecision } from './decisions.js';
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

/**
 * Takes the canaries back (or holds them) of services that an alert names, as each rollout's policy says. The id of the
 * decision is made of fingerprint and start: Alertmanager says everything many times, and it counts once.
 */
export async function handleAlerts(
  { slipway, key }: { readonly slipway: Slipway; readonly key: SigningKey },
  alerts: readonly Alert[],
): Promise<readonly Alerted[]> {
  const answers: Alerted[] = [];
  for (const alert of alerts) answers.push(...(await handle(slipway, key, alert)));
  return answers;
}

async function handle(slipway: Slipway, key: SigningKey, alert: Alert): Promise<readonly Alerted[]> {
  const { fingerprint, labels } = alert;
  const ignored = (text: string, rolloutId: string | null = null): Alerted => ({
    fingerprint,
    did: 'ignored',
    rolloutId,
    text,
  });
  if (alert.status !== 'firing') return [ignored('it is resolved')];
  const service = labels['service'];
  const environment = labels['environment'] ?? labels['env'];
  if (service === undefined) return [ignored('it has no label service')];
  if (!ID_PATTERN.test(service) || (environment !== undefined && !ID_PATTERN.test(environment)))
    return [ignored('its labels name no service or environment of ours')];
  const refs = await running(slipway, service, environment);
  if (refs.length === 0)
    return [ignored(`no rollout of ${service}${environment === undefined ? '' : ` in ${environment}`} runs`)];
  const answers: Alerted[] = [];
  for (const ref of refs) {
    const found = await viewed(slipway, ref);
    const ignore = found === null ? null : whyNot(found);
    if (ignore !== null) {
      answers.push(ignored(ignore, ref.rolloutId));
      continue;
    }
    const verb = found?.policy.onAlert === 'hold' ? 'pause' : 'abort';
    const id = `alert-${shortDigest(digestOf({ fingerprint, startsAt: Date.parse(alert.startsAt) }))}`;
    const decision = await signedDecision(
      key,
      ref.rolloutId,
      { id, verb, reason: reasonOf(alert) },
      ALERTMANAGER,
      Date.now(),
    );
    const said = await sayDecision(slipway, ref, decision);
    if (said.kind === 'recorded')
      answers.push({
        fingerprint,
        did: 'recorded',
        rolloutId: ref.rolloutId,
        text: 'no worker is up: it counts as soon as one is',
      });
    else if (said.receipt.kind === 'refused') answers.push(ignored(said.receipt.text, ref.rolloutId));
    else
      answers.push({
        fingerprint,
        did: verb === 'pause' ? 'held' : 'rolled-back',
        rolloutId: ref.rolloutId,
        text: said.receipt.text,
      });
  }
  return answers;
}

/** By the lane where it is known which: search may not know yet of what began a moment ago. */
async function running(
  slipway: Slipway,
  service: string,
  environment: string | undefined,
): Promise<readonly RolloutRef[]> {
  if (environment !== undefined) {
    const lane = { environment, service };
    const rolloutId = (await slipway.lane(lane))?.running ?? null;
    return rolloutId === null ? [] : [{ lane, rolloutId }];
  }
  const runs = await slipway.list(
    `${searchAttributes.service.name} = '${service}' AND ExecutionStatus = 'Running'`,
    MAX_ROLLOUTS,
  );
  return runs.map((run) => ({
    lane: { environment: run.environment, service: run.service },
    rolloutId: run.rolloutId,
  }));
}

async function viewed(slipway: Slipway, ref: RolloutRef): Promise<RolloutView | null> {
  const found = await slipway.find(ref);
  return found.kind === 'running' ? found.view : null;
}

/** Null: the alert is about what this rollout does. */
function whyNot(view: RolloutView): string | null {
  if (isFinal(view.phase) || view.phase === 'rolling-back') return `the rollout is ${view.phase} already`;
  if (view.policy.onAlert === 'ignore') return 'the policy says onAlert: ignore';
  const share = view.weights?.canary ?? 0;
  if (isBeforeCanary(view.phase) || (view.phase === 'canary' && share === 0)) return 'its canary has no traffic yet';
  return null;
}

function reasonOf({ labels, annotations }: Alert): string {
  const name = labels['alertname'] ?? 'an alert';
  const summary = annotations['summary'] ?? annotations['description'] ?? '';
  const said = `${name} fires${summary === '' ? '' : `: ${summary}`}`;
  return redactSecrets(said.replace(/[\u0000-\u001f\u007f]+/g, ' ')).slice(0, 500);
}
