import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGateway } from '../../gateway/gateway.js';
import type { TestContext } from 'node:test';
import type { ArmObject, ArmTemplate, JournalEntry } from '../../formats/gateway.js';
import type { Gateway, GatewayOptions } from '../../gateway/gateway.js';

const SILENT = { info: () => undefined, warn: () => undefined };

export async function stateDirFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-gateway-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A gateway in this process, on free ports and an empty state, which ends with the test. */
export async function gatewayFor(t: TestContext, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const stateDir = options.stateDir ?? (await stateDirFor(t));
  const gateway = await startGateway({ adminPort: 0, dataPort: 0, logger: SILENT, ...options, stateDir });
  t.after(() => gateway.close());
  return gateway;
}

/** What the fixture service runs as; tests start in the root of the repository. */
export function fixtureTemplate(version: string, env: Readonly<Record<string, string>> = {}): ArmTemplate {
  return {
    version,
    command: ['node', 'test/gateway/fixture-service.mjs'],
    cwd: null,
    env: { ...env },
    healthPath: '/healthz',
    images: { app: version },
  };
}

export interface Answer {
  readonly status: number;
  // Tests look into answers of every kind; a wrong guess fails the test.
  readonly body: ReturnType<typeof JSON.parse>;
}

/** One call of the admin API. */
export async function admin(
  gateway: Pick<Gateway, 'adminUrl'>,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer> {
  const response = await fetch(`${gateway.adminUrl}/v1/${path}`, {
    method,
    headers: { 'slipway-key': 'test', 'slipway-fence': '1.1' },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  });
  return { status: response.status, body: await response.json() };
}

export function write(spec: unknown, owner: string | null = null, annotations: Record<string, string> = {}) {
  return { spec, owner, annotations };
}

export function weights(stable: number, canary: number, baseline = 0) {
  return write({ weights: { stable, canary, baseline } });
}

/** Creates an arm and waits until all of it serves. */
export async function upArm(
  gateway: Gateway,
  name: string,
  template: ArmTemplate,
  replicas = 1,
  service = 'prod/hello',
): Promise<ArmObject> {
  const { status, body } = await admin(
    gateway,
    'POST',
    `objects/${service}/arm/${name}`,
    write({ template, replicas }),
  );
  if (status !== 201) throw new Error(`create answered ${status}: ${JSON.stringify(body)}`);
  return armWhen(gateway, name, (arm) => arm.status.ready >= replicas, service);
}

/** The arm, once it is as wanted. */
export function armWhen(
  gateway: Pick<Gateway, 'adminUrl'>,
  name: string,
  isWanted: (arm: ArmObject) => boolean,
  service = 'prod/hello',
): Promise<ArmObject> {
  return eventually(async () => {
    const { body } = await admin(gateway, 'GET', `objects/${service}/arm/${name}`);
    return isWanted(body as ArmObject) ? (body as ArmObject) : null;
  });
}

/** Asks until the answer is not null; fails after ten seconds. */
export async function eventually<T>(ask: () => Promise<T | null> | T | null, timeoutMs = 10_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (Date.now() > deadline) throw new Error(`not so within ${timeoutMs} ms: ${ask.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function journalOf(gateway: Pick<Gateway, 'adminUrl'>, since = 0): Promise<readonly JournalEntry[]> {
  return (await admin(gateway, 'GET', `journal?since=${since}`)).body.entries as JournalEntry[];
}

/** One request to the service, by the weights of its route. */
export async function request(gateway: Pick<Gateway, 'dataUrl'>, path = '/', init: RequestInit = {}) {
  const response = await fetch(`${gateway.dataUrl}/prod/hello${path}`, {
    signal: AbortSignal.timeout(10_000),
    ...init,
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** How many of `count` requests each arm got, and with which codes. */
export async function spread(gateway: Pick<Gateway, 'dataUrl'>, count: number): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  for (let index = 0; index < count; index++) {
    const { status, headers } = await request(gateway);
    const name = `${headers.get('x-slipway-arm')} ${status}`;
    seen[name] = (seen[name] ?? 0) + 1;
  }
  return seen;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
