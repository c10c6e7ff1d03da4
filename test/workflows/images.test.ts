/** Tags and digests: what is approved, recorded and shipped, on a real Temporal server with a registry over real HTTP. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createHttpRegistry } from '../../activities/registry/http-registry.js';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import { rolloutWorkflowId } from '../../workflows/messages.js';
import type { Pilot } from '../support/drive.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { startFakeRegistry } from '../support/fake-registry.js';
import type { FakeRegistry } from '../support/fake-registry.js';
import { kubeTarget, testRequest } from '../support/request.js';

const PASSWORD = 'pass-word-9f2c';
let env: FakeEnv;
let pilot: Pilot;
/** One registry lets everyone read, one wants a login. */
let open: FakeRegistry;
let closed: FakeRegistry;
before(async () => {
  open = await startFakeRegistry();
  closed = await startFakeRegistry();
  closed.auth = 'token';
  closed.reader = `reader:${PASSWORD}`;
  env = await startFakeEnv({
    registry: createHttpRegistry({
      insecure: [],
      timeoutMs: 8000,
      logins: () =>
        Promise.resolve({
          loginFor: (host) => (host === closed.host ? { kind: 'login', username: 'reader', password: PASSWORD } : null),
        }),
    }),
  });
  pilot = env.pilot;
});
after(async () => {
  await env.stop();
  await open.close();
  await closed.close();
});

interface Options {
  readonly image: string;
  readonly resolveTags?: Policy['resolveTags'];
  readonly approval?: Policy['approval']['required'];
}

function requestOf(world: World, { image, resolveTags = 'best-effort', approval = 'never' }: Options): RolloutRequest {
  const policy = world.policy();
  const { service } = world.lane;
  const target = kubeTarget({ namespace: service, deployment: service, service });
  const request = testRequest({
    policy: { ...policy, target, resolveTags, approval: { ...policy.approval, required: approval } },
    tag: 'v2',
  });
  return { ...request, release: { ...request.release, images: { app: image } } };
}

function canaryImages(world: World): unknown {
  const arm = world.gateway.object('arm', 'canary') ?? world.gateway.object('arm', 'stable');
  return arm?.kind === 'arm' ? arm.spec.template.images : null;
}

async function assertNoSecret(request: RolloutRequest, view: RolloutView): Promise<void> {
  const id = rolloutWorkflowId(request.policy.lane, request.rolloutId);
  const history = await env.slipway.client.workflow.getHandle(id).fetchHistory();
  // Payloads are bytes, as base64.
  const payloads = JSON.stringify(history).replace(/"data":"([^"]*)"/g, (_, data: string) =>
    Buffer.from(data, 'base64').toString('utf8'),
  );
  assert.ok(payloads.includes('resolveImages') && payloads.includes('"digest":"sha256:'), 'payloads are not read');
  for (const secret of [PASSWORD, Buffer.from(`reader:${PASSWORD}`).toString('base64'), '"token-', 'Bearer '])
    assert.ok(!`${payloads}${JSON.stringify(view)}`.includes(secret), `${secret} is in the history or the view`);
}

describe('the images of a release on Kubernetes', { concurrency: 4 }, () => {
  test('are bound to digests before anyone approves, and a tag that moves afterwards changes nothing', async () => {
    const world = await env.worldWithV1();
    const image = `${closed.host}/team/moving:v2`;
    const digest = closed.push('team/moving', 'v2');
    const request = await pilot.deploy(requestOf(world, { image, approval: 'always' }));
    const asked = await pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    assert.deepEqual(asked.plan?.release.images, { app: `${image}@${digest}` });
    assert.deepEqual(asked.warnings, []);
    assert.equal(asked.releaseName, 'moving:v2');

    assert.notEqual(closed.push('team/moving', 'v2'), digest);
    const hold = world.hold('setWeights');
    await pilot.decide(request, 'approve');
    await pilot.until(request, 'the canary is there', () => hold.entered > 0);
    assert.deepEqual(canaryImages(world), { app: `${image}@${digest}` });
    await hold.release();
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.deepEqual(canaryImages(world), { app: `${image}@${digest}` });
    assert.deepEqual(world.arms, { stable: 'moving:v2 x2' });
    assert.deepEqual(view.release.images, { app: `${image}@${digest}` }, 'what a retry would ship');
    await assertNoSecret(request, view);

    // The same tag again is another release, with another plan.
    const again = await pilot.ship(requestOf(world, { image }));
    assert.equal(again.outcome, 'completed');
    assert.notEqual(again.plan?.release.digest, view.plan?.release.digest);
    assert.notDeepEqual(canaryImages(world), { app: `${image}@${digest}` });
  });

  test('that do not exist are rejected before anything else', async () => {
    const world = await env.worldWithV1();
    const begun = world.gateway.journal.length;
    open.push('team/hello', 'v1');
    const view = await pilot.ship(requestOf(world, { image: `${open.host}/team/hello:v2` }));
    assert.deepEqual([view.outcome, view.reason?.code, view.assessment], ['rejected', 'preflight', null]);
    assert.equal(
      view.reason?.text,
      `there is no image ${open.host}/team/hello:v2 (container app): ${open.host} has no tag v2 of team/hello: push it first, or correct the tag`,
    );
    assert.equal(world.gateway.journal.length, begun);
  });

  test('that no runtime could read are rejected with the part that is wrong', async () => {
    const world = await env.worldWithV1();
    const view = await pilot.ship(requestOf(world, { image: 'team/Hello:v2' }));
    assert.equal(view.outcome, 'rejected');
    assert.match(view.reason?.text ?? '', /team\/Hello:v2 .* is no image reference: its repository is "team\/Hello"/);
  });

  test('that can’t be resolved go on by tag, and the plan says so; with `required` they are rejected', async () => {
    const gone = await startFakeRegistry();
    await gone.close();
    const nowhere = `${gone.host}/team/hello:v2`;
    const world = await env.worldWithV1();
    const view = await pilot.ship(requestOf(world, { image: nowhere }));
    assert.equal(view.outcome, 'completed');
    assert.deepEqual(view.plan?.release.images, { app: nowhere });
    const [finding] = view.plan?.warnings ?? [];
    assert.equal(finding?.severity, 'warn');
    assert.match(finding?.problem ?? '', /not bound to a digest.*127\.0\.0\.1:\d+ can't be reached \(ECONNREFUSED\)$/);
    assert.match(finding?.remedy ?? '', /^deploy by digest/);
    assert.deepEqual(view.warnings, [`${finding?.problem}: ${finding?.remedy}`]);
    assert.deepEqual(canaryImages(world), { app: nowhere });

    const refused = await pilot.ship(requestOf(world, { image: nowhere, resolveTags: 'required' }));
    assert.deepEqual([refused.outcome, refused.reason?.code], ['rejected', 'preflight']);
    assert.match(refused.reason?.text ?? '', /resolveTags: required asks for.*ECONNREFUSED.*or deploy by digest$/);
  });

  test('that a login would be needed for are told so', async () => {
    const world = await env.worldWithV1();
    const secret = await startFakeRegistry();
    secret.auth = 'token';
    secret.reader = 'somebody:else';
    const view = await pilot.ship(requestOf(world, { image: `${secret.host}/team/hello:v2`, resolveTags: 'required' }));
    assert.match(view.reason?.text ?? '', /the worker has no login for 127.*give the worker a login/);
    await secret.close();
  });

  test('are not asked for where the policy says off, nor where they are digests', async () => {
    const world = await env.worldWithV1();
    const digest = `sha256:${'d'.repeat(64)}`;
    const byDigest = `${open.host}/never/asked@${digest}`;
    const view = await pilot.ship(requestOf(world, { image: byDigest, resolveTags: 'required' }));
    assert.deepEqual([view.outcome, view.plan?.release.images], ['completed', { app: byDigest }]);
    const off = await pilot.ship(requestOf(world, { image: `${open.host}/never/asked:v2`, resolveTags: 'off' }));
    assert.deepEqual([off.outcome, off.warnings], ['completed', []]);
    assert.ok(open.requests.every(({ path }) => !path.includes('/never/')));
  });
});
