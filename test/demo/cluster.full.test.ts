/** `npm run demo -- --kubernetes --context …`: on a cluster that is there already, and of which it leaves nothing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { findOnPath } from '../../tools/command.js';
import { startKubeStack } from '../../tools/kube-stack.js';
import { until } from '../support/drive.js';
import { kubeObstacle } from '../support/kube-world.js';

const DEMO = fileURLToPath(new URL('../../demo/demo.js', import.meta.url));
const Told = z.object({
  good: z.object({ outcome: z.string() }),
  bad: z.object({ outcome: z.string(), verdict: z.string().nullable() }),
  requests: z.number(),
  errors: z.number(),
  errorsOfBad: z.number(),
  effects: z.null(),
});

const skip = (await findOnPath('kubectl')) === undefined ? 'kubectl is not installed' : await kubeObstacle();

test('the demo ships a good and a bad release on the cluster of a context', { skip }, async (t) => {
  const stack = await startKubeStack({ namespaces: [] });
  t.after(() => stack.stop());
  const cluster = ['--context', 'admin', '--gateway', 'default/edge', '--url', stack.traefik.url];
  const flags = ['--kubernetes', '--json', ...cluster, '--prometheus', stack.prometheus.url];
  const demo = spawn(process.execPath, [DEMO, ...flags], {
    env: { ...process.env, KUBECONFIG: stack.plane.kubeconfig },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let story = '';
  demo.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  demo.stderr.on('data', (chunk: Buffer) => (story += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => demo.once('close', resolve));
  assert.equal(code, 0, story);
  const told = Told.parse(JSON.parse(out));
  assert.deepEqual([told.good.outcome, told.bad.outcome, told.bad.verdict], ['completed', 'rolled-back', 'ROLLBACK']);
  assert.ok(told.requests > 500, story);
  assert.equal(told.errors, told.errorsOfBad, story);
  await until('its namespace goes', async () => {
    const { items } = await stack.plane.request<{
      items: { metadata: { name: string; deletionTimestamp?: string } }[];
    }>('GET', '/api/v1/namespaces');
    const own = items.find(({ metadata }) => metadata.name === 'slipway-demo');
    return own === undefined || own.metadata.deletionTimestamp !== undefined;
  });
});
