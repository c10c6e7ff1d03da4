/**
 * Records one history per outcome, for `replay.test.ts`: `node dist/test/replay/record-histories.js [NAME…]` from the repo
 * root; with names only those, and the others stay as they are.
 * A real Temporal server and the real workflows, over platforms in memory. To be run again whenever the workflows change
 * on purpose (until v0.1; from then on stored histories must go on replaying).
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { RolloutRequest } from '../../domain/rollout.js';
import { CONFIGURATION } from '../../domain/target.js';
import { laneWorkflowId, recoverWorkflowId, rolloutWorkflowId } from '../../workflows/messages.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { refusal } from '../support/memory-gateway.js';
import { stage, testRequest } from '../support/request.js';
import { newSigner, person, Verifier } from '../support/signing.js';
import { HISTORIES, toStored } from './histories.js';

const signer = await newSigner();

type Story = (env: FakeEnv, world: World) => Promise<RolloutRequest>;

/** Each brings a rollout to its end, and gives what was asked for. */
const STORIES: Readonly<Record<string, Story>> = {
  async completed(env, world) {
    return ship(env, testRequest({ policy: world.policy(), tag: 'v2' }), 'completed');
  },

  async 'rolled-back'(env, world) {
    world.watch = (call) =>
      call.stage === 'stage-2'
        ? { kind: 'verdict', verdict: verdict('ROLLBACK'), evidence: 'sha256:e' }
        : allIsWell(call);
    return ship(env, testRequest({ policy: world.policy(), tag: 'v2' }), 'rolled-back');
  },

  async aborted(env, world) {
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.pilot.decide(request, 'pause');
    await env.pilot.decide(request, 'abort', { reason: 'a recording' });
    return ended(env, request, 'aborted');
  },

  async rejected(env, world) {
    const approval = { ...world.policy().approval, required: 'always' as const };
    const request = await env.pilot.deploy(testRequest({ policy: world.policy({ approval }), tag: 'v2' }));
    await env.pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    await env.pilot.decide(request, 'reject');
    return ended(env, request, 'rejected');
  },

  async 'approved-twice'(env, world) {
    const stages = [stage(25, 1), stage(50, 1, true)];
    const policy = world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } });
    const approval = { ...policy.approval, required: 'always' as const };
    const request = await env.pilot.deploy(testRequest({ policy: { ...policy, approval }, tag: 'v2' }));
    await env.pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    await env.pilot.decide(request, 'approve');
    await env.pilot.until(request, 'it waits at the gate', ({ wait }) => wait?.kind === 'gate');
    await env.pilot.decide(request, 'approve');
    return ended(env, request, 'completed');
  },

  async 'signed-after-forged'(env, world) {
    const approval = { ...world.policy().approval, required: 'always' as const, quorum: 2, allowUnverified: false };
    const request = await env.pilot.deploy(testRequest({ policy: world.policy({ approval }), tag: 'v2' }));
    await env.pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    await env.pilot.decide(request, 'approve', { actor: person('anna'), signer: await newSigner() });
    for (const name of ['anna', 'bert']) await env.pilot.decide(request, 'approve', { actor: person(name), signer });
    return ended(env, request, 'completed');
  },

  async 'escalated-then-glass-broken'(env, world) {
    const approval = {
      ...world.policy().approval,
      required: 'always' as const,
      groups: ['ops'],
      reminders: [0.01],
      escalate: { afterMs: 1000, groups: ['oncall'] },
    };
    const request = await env.pilot.deploy(testRequest({ policy: world.policy({ approval }), tag: 'v2' }));
    await env.pilot.until(request, 'it is escalated', ({ approvals }) => approvals?.alsoGroups.length === 1);
    await env.pilot.decide(request, 'break-glass', { reason: 'a recording for the replay test' });
    return ended(env, request, 'completed');
  },

  async superseded(env, world) {
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.pilot.ship(testRequest({ policy: world.policy({ whenBusy: 'supersede' }), tag: 'v3' }));
    return ended(env, request, 'superseded');
  },

  async 'rollback-failed'(env, world) {
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.fault = ({ method, path }) =>
      method !== 'GET' && path.includes('/route/') ? refusal(403, 'Forbidden', 'read-only') : null;
    await env.pilot.decide(request, 'abort');
    return ended(env, request, 'rollback-failed');
  },

  async recovered(env, world) {
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.pilot.handle(request).terminate('a recording');
    const outcome = await env.pilot.remembered(request);
    if (outcome !== 'rolled-back') throw new Error(`recovered: ${outcome}`);
    return request;
  },

  async 'first-release'(env) {
    const world = env.worlds.add();
    return ship(env, testRequest({ policy: world.policy(), tag: 'v1' }), 'completed');
  },

  async 'held-then-promoted'(env, world) {
    world.watch = (call) =>
      call.mode === 'overtime'
        ? 'wait'
        : call.stage === 'stage-1' && call.mode === 'watch'
          ? { kind: 'held', verdict: verdict('HOLD'), evidence: null }
          : allIsWell(call);
    const request = await env.pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'inconclusive');
    await env.pilot.decide(request, 'promote', { reason: 'a recording' });
    return ended(env, request, 'completed');
  },

  async 'blind-then-completed'(env, world) {
    let down = true;
    world.watch = (call) =>
      !down ? allIsWell(call) : call.mode === 'blind' ? 'wait' : { kind: 'blind', reason: 'connection refused' };
    const request = await env.pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.pilot.until(request, 'it is blind', ({ wait }) => wait?.kind === 'blind');
    down = false;
    return ended(env, request, 'completed');
  },

  async 'drift-overwritten'(env, world) {
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.meddle('route', 'route', () => ({ weights: { stable: 90, canary: 10, baseline: 0 } }));
    world.watch = allIsWell;
    await env.pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    await env.pilot.decide(request, 'resume');
    return ended(env, request, 'completed');
  },

  async 'configuration-let-be'(env, world) {
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const disturbance = { kind: 'drift', object: CONFIGURATION, text: 'it is b, and was a', passing: false } as const;
    world.watch = ({ heldOnDrift }) => (heldOnDrift ? 'wait' : { kind: 'disturbed', disturbance });
    await env.pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    world.watch = allIsWell;
    await env.pilot.decide(request, 'resume');
    return ended(env, request, 'completed');
  },
};

async function ship(env: FakeEnv, request: RolloutRequest, outcome: string): Promise<RolloutRequest> {
  await env.pilot.deploy(request);
  return ended(env, request, outcome);
}

async function ended(env: FakeEnv, request: RolloutRequest, outcome: string): Promise<RolloutRequest> {
  const view = await env.pilot.ended(request);
  if (view.outcome !== outcome) throw new Error(`wanted ${outcome}, got ${view.outcome}: ${view.reason?.text}`);
  return request;
}

async function record(env: FakeEnv, name: string, workflowId: string): Promise<void> {
  const history = await env.slipway.client.workflow.getHandle(workflowId).fetchHistory();
  const stored = toStored(workflowId, history);
  await writeFile(new URL(`${name}.json`, HISTORIES), `${JSON.stringify(stored)}\n`);
  process.stdout.write(`${name}: ${stored.history.events.length} events\n`);
}

const names = process.argv.slice(2);
const unknown = names.filter((name) => !Object.hasOwn(STORIES, name));
if (unknown.length > 0)
  throw new Error(`there is no story ${unknown.join(', ')}: write ${Object.keys(STORIES).join(', ')}`);
if (names.length === 0) await rm(HISTORIES, { recursive: true, force: true });
await mkdir(HISTORIES, { recursive: true });
const env = await startFakeEnv({ verifyDecision: new Verifier(signer.trusted).verifyDecision });
try {
  for (const [name, tell] of Object.entries(STORIES)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const request = await tell(env, await env.worldWithV1());
    const { lane } = request.policy;
    if (name === 'recovered') await record(env, 'recover', recoverWorkflowId(lane, request.rolloutId));
    else await record(env, `rollout-${name}`, rolloutWorkflowId(lane, request.rolloutId));
    if (name === 'superseded' || name === 'recovered') {
      await env.pilot.remembered(request);
      await record(env, `lane-${name}`, laneWorkflowId(lane));
    }
  }
} finally {
  await env.stop();
}
process.stdout.write(`recorded in ${fileURLToPath(HISTORIES)}\n`);
