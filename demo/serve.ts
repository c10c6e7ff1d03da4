/**
 * `npm run demo -- --serve`: everything stays up until interrupted, and there is always a rollout that waits for
 * somebody: Temporal with its Web, a worker, `slipway server` with the page, and a local platform under traffic.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DecisionBody, DeployPayload, RunDocument, StartedRun } from '../client/server/contract.js';
import type { Role } from '../domain/people.js';
import { startSlipwayServer } from '../tools/slipway-server.js';
import { startStack } from '../tools/stack.js';
import type { Stack } from '../tools/stack.js';
import { freePort } from '../tools/supervise.js';
import { startTraffic } from '../tools/traffic.js';
import type { Traffic } from '../tools/traffic.js';
import { DEMO } from './scene.js';

/** Who plays in the demo, each with a static token. */
const PEOPLE = {
  // Also an approver: what keeps it from approving is that it is its own work.
  author: ['deployer', 'approver'],
  approver: ['approver'],
  approver2: ['approver'],
  viewer: ['viewer'],
  admin: ['admin', 'breakglass'],
} as const satisfies Readonly<Record<string, readonly Role[]>>;
type Person = keyof typeof PEOPLE;

/** The services, and how many people must approve a release of each. */
const SERVICES = { hello: 1, checkout: 2 } as const;
type Service = keyof typeof SERVICES;

const REQUESTS_PER_SECOND = 50;
const TOKENS_FOR_MS = 7 * 86_400_000;
const POLICIES = 'policies';
const LOOK_EVERY_MS = 500;
/** How long the first releases may take, on a machine that is busy with other things. */
const FIRST_MS = 180_000;
const CALL_MS = 60_000;
/** How long Temporal and its worker may be too busy to answer. */
const BUSY_MS = 120_000;

/** What comes next, over and over; what makes a release bad is in its environment. */
const RELEASES: readonly Pick<DeployPayload, 'env' | 'change'>[] = [
  {
    change: {
      author: 'author@example.com',
      message: 'Greet people by their first name',
      files: [
        { path: 'src/greeting.ts', added: 48, deleted: 12 },
        { path: 'config/production.yaml', added: 2, deleted: 1 },
      ],
    },
  },
  {
    env: { DEMO_ERROR_RATE: '0.3' },
    change: {
      author: 'author@example.com',
      message: 'Read names from the new table (this one is bad: 30 % of its answers are errors)',
      files: [
        { path: 'db/migrations/7_names.sql', added: 31, deleted: 4 },
        { path: 'src/names.ts', added: 120, deleted: 96 },
      ],
    },
  },
];

/** What programs are told, in one line. */
interface Served {
  readonly api: string;
  readonly page: string;
  readonly temporalWeb: string;
  readonly tokens: Readonly<Record<Person, string>>;
}

/**
 * Runs until the signal; whatever happens, all that was started has ended when this returns.
 *
 * @param tell a line on standard output
 * @param note a line on standard error, before the first one on standard output
 */
export async function serveDemo(options: {
  readonly signal: AbortSignal;
  readonly tell: (line: string) => void;
  readonly note: (line: string) => void;
}): Promise<void> {
  const { signal, tell, note } = options;
  note('Slipway demo: starting Temporal, a local gateway, a worker and the server …');
  const stack = await startStack({ uiPort: await freePort() });
  const traffics: Traffic[] = [];
  try {
    await writePolicies(stack);
    signal.throwIfAborted();
    await stack.startWorker();
    const serving = { people: PEOPLE, tokensForMs: TOKENS_FOR_MS, policies: POLICIES };
    const { url: api, tokens } = await startSlipwayServer(stack, serving);
    const people = new People(api, tokens, signal);
    note('Shipping the first release of each service …');
    for (const service of Object.keys(SERVICES) as Service[]) {
      await shipFirst(people, service, note);
      traffics.push(startTraffic({ url: `${stack.dataUrl}/local/${service}/`, perSecond: REQUESTS_PER_SECOND }));
    }
    const numbers = { hello: 1, checkout: 1 };
    const waiting = { hello: '', checkout: '' };
    for (const service of Object.keys(SERVICES) as Service[]) waiting[service] = await next(people, service, numbers);
    const served: Served = {
      api,
      page: `${api}/`,
      temporalWeb: `${stack.temporal.uiUrl ?? ''}/namespaces/default/workflows`,
      tokens,
    };
    tell(JSON.stringify(served));
    for (const line of guide(served, waiting)) tell(line);
    await Promise.all(
      (Object.keys(SERVICES) as Service[]).map((service) => keepOneWaiting(people, service, waiting, numbers, tell)),
    );
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    note('Stopping …');
    await Promise.all(traffics.map((traffic) => traffic.stop()));
    await stack.stop();
  }
}

/** A policy for each service, as its owners would write it. */
async function writePolicies(stack: Stack): Promise<void> {
  const policies = path.join(stack.folder, POLICIES);
  await mkdir(policies);
  const policy = await readFile(path.join(DEMO, 'slipway.yaml'), 'utf8');
  for (const [service, quorum] of Object.entries(SERVICES)) {
    const text = policy
      .replace('service: hello', `service: ${service}`)
      .replace('images:\n  app: hello', `images:\n  app: ${service}`)
      .replace('http://127.0.0.1:7700', stack.adminUrl)
      .replace('cwd: .', `cwd: ${JSON.stringify(DEMO)}`)
      // Decisions go through the server here, which signs them: no others count.
      .replace(/approval: \{.*\}/, `approval: { required: always, quorum: ${quorum}, excludeAuthor: true }`);
    await writeFile(path.join(policies, `${service}.slipway.yaml`), text);
  }
}

/** The people of the demo, by the API that everybody has. */
class People {
  constructor(
    private readonly api: string,
    private readonly tokens: Served['tokens'],
    readonly signal: AbortSignal,
  ) {}

  async start(service: Service, payload: Omit<DeployPayload, 'service' | 'environment'>): Promise<string> {
    const body = {
      task: 'deploy',
      payload: { service, environment: 'local', ...payload },
      idempotencyKey: randomUUID(),
    };
    return (await this.call<StartedRun>('author', '/runs', body)).run_id;
  }

  look(rolloutId: string): Promise<RunDocument> {
    return this.call<RunDocument>('viewer', `/runs/${rolloutId}`);
  }

  async approve(person: Person, { summary, view }: RunDocument): Promise<void> {
    const body: DecisionBody = {
      id: randomUUID(),
      verb: 'approve',
      reason: 'the first release, by the demo itself',
      ...(view.approvals === null ? {} : { gate: view.approvals.gate, planDigest: view.approvals.planDigest }),
    };
    await this.call(person, `/runs/${summary.rolloutId}/decisions`, body);
  }

  /** What can't be had at this moment is asked for again: a decision and a request keep their ids, so it is done once. */
  private async call<T>(person: Person, where: string, body?: unknown): Promise<T> {
    for (const endMs = Date.now() + BUSY_MS; ; await sleep(1000, undefined, { signal: this.signal })) {
      const answer = await this.ask(person, where, body);
      if (answer.status === 200 || answer.status === 202) return JSON.parse(answer.text) as T;
      if (answer.status !== 503 || Date.now() > endMs)
        throw new Error(`${where} as ${person}: ${answer.status} ${answer.text}`);
    }
  }

  /** Where nobody answers (a server that is started anew, a machine that is too busy), that is 503 too. */
  private async ask(
    person: Person,
    where: string,
    body: unknown,
  ): Promise<{ readonly status: number; readonly text: string }> {
    try {
      const response = await fetch(`${this.api}${where}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { authorization: `Bearer ${this.tokens[person]}`, 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.any([this.signal, AbortSignal.timeout(CALL_MS)]),
      });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      if (this.signal.aborted) throw error;
      const { message, cause } = error as Error;
      return { status: 503, text: `the server does not answer: ${String(cause ?? message)}` };
    }
  }
}

/** Nothing serves yet: the demo approves this one by itself, so that there is something to compare the next with. */
async function shipFirst(people: People, service: Service, note: (line: string) => void): Promise<void> {
  const id = await people.start(service, {
    tag: 'v1',
    change: { message: 'first release', author: 'author@example.com' },
  });
  for (
    const endMs = Date.now() + FIRST_MS;
    Date.now() < endMs;
    await sleep(LOOK_EVERY_MS, undefined, { signal: people.signal })
  ) {
    const run = await people.look(id);
    const { approvals, outcome, reason } = run.view;
    if (outcome === 'completed') return note(`  ${service}:v1 serves`);
    if (outcome !== null) throw new Error(`the first release of ${service} ended ${outcome}: ${reason?.text ?? ''}`);
    const given = approvals?.approvedBy.length ?? SERVICES[service];
    if (given < SERVICES[service]) await people.approve(given === 0 ? 'approver' : 'approver2', run);
  }
  throw new Error(`the first release of ${service} did not end within ${FIRST_MS / 1000} s`);
}

/** Asks for the next release, good and bad by turns. */
async function next(people: People, service: Service, numbers: Record<Service, number>): Promise<string> {
  numbers[service] += 1;
  const release = RELEASES[numbers[service] % RELEASES.length] ?? {};
  return people.start(service, { tag: `v${numbers[service]}`, ...release });
}

/** As soon as a service's rollout is over, however it ended, the next one waits. */
async function keepOneWaiting(
  people: People,
  service: Service,
  waiting: Record<Service, string>,
  numbers: Record<Service, number>,
  tell: (line: string) => void,
): Promise<never> {
  for (;;) {
    await sleep(LOOK_EVERY_MS, undefined, { signal: people.signal });
    const { view } = await people.look(waiting[service]);
    if (view.outcome === null) continue;
    tell(`${view.releaseName}: ${view.outcome}${view.reason === null ? '' : `, ${view.reason.text}`}`);
    waiting[service] = await next(people, service, numbers);
    tell(`  ${service}:v${numbers[service]} waits now: ${waiting[service]}`);
  }
}

function guide(
  { api, page, temporalWeb, tokens }: Served,
  waiting: Readonly<Record<Service, string>>,
): readonly string[] {
  return [
    '',
    'All of it runs until you press Ctrl-C. Two rollouts wait for people.',
    '',
    `  1. Open ${page} and log in as the approver, with the token`,
    `       ${tokens.approver}`,
    '  2. Under "Waiting for me" open hello, read its risk and plan, and press Approve. The canary gets 10 %, then',
    '     50 % of real traffic; its plots move while the judge looks. This release is good: it is promoted.',
    '  3. checkout needs two people: approve it too, then once more in a private window, as approver2, with the token',
    `       ${tokens.approver2}`,
    '     The author can’t approve, and is told why; try it with the token',
    `       ${tokens.author}`,
    '  4. Whatever ends, the next release waits by itself: good and bad by turns. The bad one is rolled back by the judge.',
    '',
    `  What Temporal sees of it: ${temporalWeb}`,
    '  The same without a browser:',
    `       curl -H 'Authorization: Bearer ${tokens.approver}' ${api}/runs/${waiting.hello}`,
    `       curl -N -H 'Authorization: Bearer ${tokens.viewer}' ${api}/runs/${waiting.hello}/events`,
    '',
  ];
}
