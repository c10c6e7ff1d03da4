import { Slipway } from '../client/slipway.js';
import type { RolloutView } from '../domain/rollout.js';
import { readJournal, startStack } from '../tools/stack.js';
import type { Stack } from '../tools/stack.js';
import { startTraffic } from '../tools/traffic.js';
import { trafficBack } from '../tools/traffic-back.js';
import { stage, testPolicy, testRequest } from '../test/support/request.js';
import type { Policy } from '../domain/policy.js';
import { median } from './numbers.js';

/** What one bad release cost. Seconds, from the first failed answer of the canary that a client saw. */
export interface Detection {
  readonly title: string;
  readonly canaryPerSecond: number;
  readonly errorRate: number;
  readonly lookSeconds: number;
  readonly toZeroWeight: readonly number[];
  readonly toLastRequest: readonly number[];
  readonly target: string;
  readonly met: boolean;
}

/** How fast a bad canary loses its traffic, on the real stack. */
export async function measureDetection(runs: number): Promise<readonly Detection[]> {
  const stack = await startStack();
  try {
    await stack.startWorker();
    const client = await Slipway.connect(stack.env);
    const results: Detection[] = [];
    for (const kind of ['half', 'five'] as const) {
      const perSecond = kind === 'half' ? 80 : 400;
      const errorRate = kind === 'half' ? 0.5 : 0.05;
      // 25 % of 80 is 20 requests a second on the canary; 25 % of 400 is 100.
      const policy = testPolicy({
        gateway: stack.adminUrl,
        service: kind,
        stages: [stage(25, 120)],
        scrapeIntervalMs: 1000,
      });
      await ship(client, policy, 'v0', {});
      const traffic = startTraffic({ url: `${stack.dataUrl}/test/${kind}/`, perSecond });
      const toZeroWeight: number[] = [];
      const toLastRequest: number[] = [];
      for (let run = 1; run <= runs; run += 1) {
        const tag = `bad${run}`;
        const view = await ship(client, policy, tag, { DEMO_ERROR_RATE: String(errorRate) });
        if (view.outcome !== 'rolled-back') throw new Error(`${tag} ended ${view.outcome ?? 'open'}`);
        const zero = await zeroWeightAt(stack, view.rolloutId);
        const bad = traffic.answers.filter((answer) => answer.version === `${kind}:${tag}`);
        const first = bad.find((answer) => !answer.ok)?.atMs ?? 0;
        toZeroWeight.push((zero - first) / 1000);
        toLastRequest.push(((bad.at(-1)?.atMs ?? 0) - first) / 1000);
      }
      await traffic.stop();
      // Hard limits are looked at every second here; the statistical looks come every 4 s (4 scrapes).
      const limit = kind === 'half' ? 1 + 2 : 60;
      results.push({
        title:
          kind === 'half' ? '50 % errors at 20 requests/s on the canary' : '5 % errors at 100 requests/s on the canary',
        canaryPerSecond: perSecond / 4,
        errorRate,
        lookSeconds: 1,
        toZeroWeight,
        toLastRequest,
        target: kind === 'half' ? 'one look + 2 s = 3 s' : '60 s',
        met: median(toZeroWeight) <= limit,
      });
    }
    await client.close();
    return results;
  } finally {
    await stack.stop();
  }
}

/** Ships one release and waits for its end. */
export async function ship(
  client: Slipway,
  policy: Policy,
  tag: string,
  env: Readonly<Record<string, string>>,
): Promise<RolloutView> {
  const request = testRequest({ policy, tag, env });
  await client.enqueue(request);
  for (const until = Date.now() + 180_000; Date.now() < until;) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const found = await client.find({ lane: policy.lane, rolloutId: request.rolloutId });
    if (found.kind === 'running' && found.view.outcome !== null) return found.view;
  }
  throw new Error(`${tag} did not end within 180 s`);
}

async function zeroWeightAt(stack: Stack, rolloutId: string): Promise<number> {
  const routes = (await readJournal(stack.adminUrl)).filter(({ kind }) => kind === 'route');
  const atMs = trafficBack(routes.map(({ key, at }) => ({ key, atMs: Date.parse(at) }))).get(rolloutId);
  if (atMs === undefined) throw new Error(`the journal has no write that took the traffic from ${rolloutId}`);
  return atMs;
}
