import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CliError, EXIT } from '../../client/exit-codes.js';
import type { Slipway } from '../../client/slipway.js';
import type { RolloutView } from '../../domain/rollout.js';
import type { JournalEntry } from '../../formats/gateway.js';
import { readJournal, SLIPWAY } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';

/** Longer than any command may take, also on a busy machine. */
const LIMIT_MS = 120_000;
const SERVICE = path.resolve('demo/service.mjs');

/** What a command said, and how it ended. */
export interface Said {
  readonly args: readonly string[];
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Commands against one stack, as people and CI run them. */
export class Terminal {
  constructor(
    private readonly stack: Stack,
    /** Looks without a process of its own, for waiting. */
    private readonly client: Slipway,
    private readonly cwd: string = stack.folder,
    private readonly env: Readonly<Record<string, string>> = {},
  ) {}

  /** The same in another folder, or with other settings. */
  in(folder: string, env: Readonly<Record<string, string>> = {}): Terminal {
    return new Terminal(this.stack, this.client, folder, { ...this.env, ...env });
  }

  /** Runs `slipway` with these arguments to its end. */
  async run(...args: readonly string[]): Promise<Said> {
    return runCommand(args, this.cwd, { ...this.stack.env, ...this.env });
  }

  /** Runs it, and fails with all that it said if it ends otherwise. */
  async expect(code: number, ...args: readonly string[]): Promise<Said> {
    const said = await this.run(...args);
    assert.equal(said.code, code, story(said));
    return said;
  }

  /** The one JSON document of a command that ends well. */
  async json<T>(...args: readonly string[]): Promise<T> {
    return documentOf<T>(await this.expect(0, ...args, '--json'));
  }

  /** Asks for a rollout and gives its id. */
  async deploy(...args: readonly string[]): Promise<string> {
    const { rolloutId } = await this.json<{ readonly rolloutId: string }>('deploy', '--no-git', ...args);
    return rolloutId;
  }

  async view(rolloutId: string): Promise<RolloutView> {
    const found = await this.client.find(await this.client.resolve(rolloutId));
    return found.kind === 'running' ? found.view : assert.fail(`rollout ${rolloutId} does not run: ${found.kind}`);
  }

  /** An answer, also where a machine that is too busy takes long to give it. */
  private async answer<T>(ask: () => Promise<T>, endMs: number): Promise<T> {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof CliError) || error.exitCode !== EXIT.unavailable || Date.now() > endMs) throw error;
      }
    }
  }

  /** Waits until a rollout is as wanted; fails at once where it is over without it. */
  async until(rolloutId: string, what: string, wanted: (view: RolloutView) => boolean): Promise<RolloutView> {
    const endMs = Date.now() + 60_000;
    const ref = await this.answer(() => this.client.resolve(rolloutId), endMs);
    for (; ; await sleep(100)) {
      const found = await this.answer(() => this.client.find(ref), endMs);
      const view = found.kind === 'running' ? found.view : null;
      if (view !== null && wanted(view)) return view;
      const over = view?.outcome != null || Date.now() > endMs;
      assert.ok(!over, `${what}: not seen\n${JSON.stringify(view?.timeline ?? found, null, 1)}`);
    }
  }
}

/** Runs the compiled command as a process of its own, with no settings but these. */
export async function runCommand(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Said> {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [SLIPWAY, ...args], {
    cwd,
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { args, code, out, err };
}

/** Exactly one JSON document on standard output, and nothing else. */
export function documentOf<T>(said: Said): T {
  try {
    return JSON.parse(said.out) as T;
  } catch (error) {
    throw new Error(`standard output is not one JSON document\n${story(said)}`, { cause: error });
  }
}

/** All of it, for the messages of failed tests. */
export function story({ args, code, out, err }: Said): string {
  return `$ slipway ${args.join(' ')}\n${out}\n-- standard error:\n${err}\n-- exit code ${code}`;
}

/** A refusal as users need it: the documented exit code, what is wrong, what to do, and nothing that only programmers read. */
export function assertRefused(said: Said, code: number, ...texts: readonly RegExp[]): void {
  assert.equal(said.code, code, story(said));
  const [first = ''] = said.err.split('\n').filter((line) => line.startsWith('slipway: '));
  assert.notEqual(first, '', `nothing on standard error says what is wrong\n${story(said)}`);
  assert.match(said.err, /^ {2}→ /m, `nothing says what to do next\n${story(said)}`);
  for (const text of texts) assert.match(said.err, text, story(said));
  assert.doesNotMatch(said.err, /^ +at .*:\d+:\d+\)?$|internal error|undefined|\[object|NaN/m, story(said));
  assertHarmless(said);
}

/** Nothing that moves the cursor, changes colours or the direction of the text. */
export function assertHarmless(said: Said): void {
  assert.doesNotMatch(
    said.out + said.err,
    /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/,
    JSON.stringify(said),
  );
}

/** What the gateway has applied for a service: the ground truth of "nothing was touched". */
export async function journalOf(stack: Stack, service: string): Promise<readonly JournalEntry[]> {
  return (await readJournal(stack.adminUrl)).filter((entry) => entry.service === service);
}

export interface ServiceOptions {
  readonly service: string;
  /** Admin address of the gateway. */
  readonly gateway: string;
  /** More keys of the environment `local`, as lines of YAML; a key given here replaces the usual one. */
  readonly more?: readonly string[];
}

/** A folder with a `slipway.yaml` whose times are short and which no person must approve. */
export async function serviceFolder(stack: Stack, options: ServiceOptions): Promise<string> {
  const folder = path.join(stack.folder, 'services', options.service);
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'slipway.yaml'), serviceYaml(options));
  return folder;
}

export function serviceYaml({ service, gateway, more = [] }: ServiceOptions): string {
  const usual = [
    `gateway: ${gateway}`,
    `run: { command: [node, ${JSON.stringify(SERVICE)}], replicas: 1 }`,
    'strategy: canary_25',
    'stages: [{ weight: 50%, for: 3s }]',
    'verify: 0s',
    'approval: { required: never }',
    // Wide margins: these tests are about the command line, not about statistics.
    'analysis: { scrapeInterval: 1s, warmUp: 0s, lookEvery: 1s, minRequests: 10, errorMargin: 50%, latencyMargin: 20, minLatencyRatio: 20 }',
    'waits: { progress: 20s }',
    'risk: { model: off }',
  ];
  const given = new Set(more.map(keyOf));
  const lines = [...usual.filter((line) => !given.has(keyOf(line))), ...more];
  return `service: ${service}\nowner: team-${service}\nenvironments:\n  local:\n    platform: local\n${lines.map((line) => `    ${line}\n`).join('')}`;
}

function keyOf(line: string): string {
  return line.slice(0, line.indexOf(':'));
}

/** Does the work for all items, a few at a time; the results are in the items' order. */
export async function severalAtOnce<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
  atOnce = 3,
): Promise<readonly R[]> {
  const results: R[] = [];
  let next = 0;
  async function worker(): Promise<void> {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  }
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}
