/**
 * docker-compose.yml without Docker: it is what the Compose Specification allows, and its services do what they are for.
 * Each is started here by the very command, environment and health check of the file, on the file's own ports, in a
 * network namespace; only names of services become loopback addresses, and paths in containers become folders here.
 * Three things stand in: Temporal's dev server for its server on Postgres, a recorder for the tool that sets that up, and
 * a request for promtool's.
 *
 * compose-spec.json is schema/compose-spec.json of github.com/compose-spec/compose-go v2.16.2, unchanged: Apache-2.0,
 * Copyright 2020 The Compose Specification Authors.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse, stringify } from 'yaml';
import type { RolloutView } from '../../domain/rollout.js';
import { enterNetworkNamespace } from '../../tools/network-namespace.js';
import { startServer } from '../../tools/supervise.js';
import type { Server } from '../../tools/supervise.js';
import { startTemporal, type TemporalServer } from '../../tools/temporal-server.js';
import { findPrometheus, findTemporal, reasonToSkip } from '../../tools/toolbox.js';
import { until } from '../support/drive.js';

const FILE = path.resolve('docker-compose.yml');
/** Longer than any service may take to end. */
const LIMIT_MS = 90_000;
const SECRET = /PASSWORD|PWD|SECRET|TOKEN|KEY/;

type Environment = Readonly<Record<string, string | number | null>>;

interface Service {
  readonly image?: string;
  readonly build?: string;
  readonly restart?: string;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly working_dir?: string;
  readonly profiles?: readonly string[];
  readonly environment?: Environment;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

const skip = await obstacle();
const text = await readFile(FILE, 'utf8');
const written = parse(text, { merge: true }) as Compose;
const { services, volumes } = parse(interpolate(text), { merge: true }) as Compose;
const each = Object.entries(services);

/** Why the services can't run here, or false. All is fetched before the namespace is entered, from where nothing can be. */
async function obstacle(): Promise<string | false> {
  for (const finder of [findTemporal, findPrometheus]) {
    const reason = await reasonToSkip(finder);
    if (reason !== false) return reason;
  }
  const reason = await enterNetworkNamespace();
  return reason === undefined ? false : `needs a network namespace: ${reason}`;
}

/** What Compose makes of the file where none of its variables is set. */
function interpolate(file: string): string {
  const filled = file.replace(/\$\$|\$\{\w+:-([^}$]*)\}/g, (found, otherwise: string | undefined) =>
    found === '$$' ? '\0' : (otherwise ?? ''),
  );
  assert.doesNotMatch(filled, /\$/, 'a variable that has no default, or a $ that is not doubled');
  return filled.replaceAll('\0', '$');
}

function service(name: string): Service {
  return services[name] ?? assert.fail(`docker-compose.yml has no service ${name}`);
}

/** `source:target[:mode]` */
function mountsOf({ volumes: mounts = [] }: Service): readonly (readonly [source: string, target: string])[] {
  return mounts.map((mount) => mount.split(':') as [string, string]);
}

function dependenciesOn(name: string): readonly string[] {
  return each.flatMap(([, { depends_on: on }]) => on?.[name]?.condition ?? []);
}

describe('docker-compose.yml', () => {
  test('is what the Compose Specification allows', async () => {
    const schema = JSON.parse(await readFile('test/compose/compose-spec.json', 'utf8')) as object;
    // The schema's own formats are Compose's (durations, ports), which only Compose checks.
    const validate = new Ajv2020({ allErrors: true, strict: false, validateFormats: false }).compile(schema);
    validate(written);
    assert.deepEqual(validate.errors ?? [], []);
  });

  test('pins every image by its version, and binds every port to this machine', () => {
    for (const [name, { image, build, ports = [] }] of each) {
      assert.ok(build === '.' ? image === undefined : /:v?\d+\.\d+(\.\d+)?$/.test(image ?? ''), `${name}: ${image}`);
      for (const port of ports) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/, name);
    }
  });

  test('holds no secret', () => {
    for (const [name, { environment = {} }] of Object.entries(written.services)) {
      for (const [variable, value] of Object.entries(environment)) {
        if (SECRET.test(variable))
          assert.match(String(value ?? '${FROM_OUTSIDE}'), /^\$\{\w+.*\}$/, `${name} ${variable}`);
      }
    }
  });

  test('names nothing that is not there', () => {
    const used = new Set<string>();
    for (const [name, one] of each) {
      for (const [source] of mountsOf(one)) {
        if (source.startsWith('.')) assert.ok(existsSync(source), `${name} mounts ${source}`);
        else used.add(source);
      }
      for (const dependency of Object.keys(one.depends_on ?? {})) service(dependency);
    }
    assert.deepEqual([...used].toSorted(), Object.keys(volumes).toSorted());
  });

  test('starts each service when what it needs is there, and again when it has ended', () => {
    for (const [name, { restart, healthcheck, profiles }] of each) {
      if (profiles !== undefined) continue;
      const conditions = dependenciesOn(name);
      if (restart === undefined) {
        // `up --wait` counts a job that has ended as a failure, unless somebody waits for its end.
        assert.ok(conditions.length > 0, `nobody waits for the job ${name}`);
        assert.deepEqual(new Set(conditions), new Set(['service_completed_successfully']), name);
        continue;
      }
      assert.equal(restart, 'unless-stopped', name);
      assert.deepEqual(new Set(conditions).size <= 1 && !conditions.includes('service_started'), true, name);
      assert.ok(!conditions.includes('service_completed_successfully'), `${name} never completes`);
      if (conditions.length > 0) assert.ok(healthcheck, `${name} has no health check`);
    }
  });
});

/**
 * Where other services find it: an address of its own on the loopback, so that one which listens on 127.0.0.1 only is as
 * unreachable for them as it is in its container. Temporal's stand-in listens there.
 */
function addressOf(name: string): string {
  return name === 'temporal' ? '127.0.0.1' : `127.0.1.${Object.keys(services).indexOf(name) + 1}`;
}

/** A stack of the file's services on this machine. */
class Here {
  readonly #stops: (() => Promise<void>)[] = [];
  readonly #servers = new Map<string, Server>();

  private constructor(
    readonly folder: string,
    /** ENTRYPOINT and ENV of the image that the Dockerfile makes. */
    private readonly image: { readonly entrypoint: readonly string[]; readonly env: Environment },
  ) {}

  static async open(): Promise<Here> {
    const dockerfile = await readFile('Dockerfile', 'utf8');
    const [, entrypoint = '[]'] = /^ENTRYPOINT (.+)$/m.exec(dockerfile) ?? [];
    const env = [...dockerfile.matchAll(/^ENV (\w+)=(\S+)$/gm)].map(([, name, value]) => [name, value]);
    const folder = await mkdtemp(path.join(tmpdir(), 'slipway-compose-'));
    await mkdir(path.join(folder, 'bin'));
    const here = new Here(folder, {
      entrypoint: JSON.parse(entrypoint) as string[],
      env: Object.fromEntries(env) as Environment,
    });
    for (const [name, one] of each) {
      for (const [source, target] of mountsOf(one)) await here.#mount(name, source, target);
    }
    return here;
  }

  /** Puts a program where the services find it. */
  async program(name: string, file: string): Promise<void> {
    await symlink(file, path.join(this.folder, 'bin', name));
  }

  /** Puts a shell script where the services find it. */
  async script(name: string, body: string): Promise<void> {
    await writeFile(path.join(this.folder, 'bin', name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }

  /** Runs a service to its end, with more arguments as `docker compose run` takes them. */
  async run(name: string, args: readonly string[] = [], env: Environment = {}) {
    const [program, ...rest] = [...this.#commandOf(name, env), ...args];
    const cwd = this.#pathsOf(name, service(name).working_dir ?? this.folder);
    return new Promise<{ readonly code: number; readonly out: string; readonly err: string }>((resolve) => {
      execFile(program ?? '', rest, { cwd, timeout: LIMIT_MS }, (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err });
      });
    });
  }

  /** Starts a service, and waits until its own health check says that it is healthy. */
  async start(name: string): Promise<void> {
    const [program = '', ...args] = this.#commandOf(name);
    const [kind, ...check] = service(name).healthcheck?.test ?? ['CMD', 'true'];
    assert.equal(kind, 'CMD', name);
    const server = await startServer({
      name,
      command: program,
      args,
      ready: async () => {
        const [probe = '', ...rest] = this.#inContainer(name, check);
        return new Promise((resolve) => execFile(probe, rest, (error) => resolve(error === null)));
      },
      logFile: path.join(this.folder, `${name}.log`),
    });
    this.#stops.push(() => server.stop());
    this.#servers.set(name, server);
  }

  async restart(name: string): Promise<void> {
    await this.#servers.get(name)?.restart();
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.toReversed()) await stop();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  #commandOf(name: string, env: Environment = {}): readonly string[] {
    const { build, entrypoint, command = [] } = service(name);
    const before = entrypoint ?? (build === undefined ? [name] : this.image.entrypoint);
    return this.#inContainer(name, [...before, ...command], env);
  }

  /** A command with the environment that it has in its container, and no more. */
  #inContainer(name: string, command: readonly string[], more: Environment = {}): readonly string[] {
    const { build, environment = {} } = service(name);
    const PATH = [path.join(this.folder, 'bin'), path.dirname(process.execPath), '/usr/bin', '/bin'].join(':');
    const env: Environment = {
      PATH,
      HOME: this.folder,
      ...(build === undefined ? {} : this.image.env),
      ...environment,
      ...more,
    };
    const settings = Object.entries(env).flatMap(([variable, value]) =>
      value === null ? [] : [`${variable}=${this.#translate(name, String(value))}`],
    );
    return ['/usr/bin/env', '-i', ...settings, ...command.map((word) => this.#translate(name, word))];
  }

  /** `gateway:7700` is the gateway's address here, and a path in the container a path here. */
  #translate(name: string, word: string): string {
    const hosts = new RegExp(`(?<![\\w.-])(${Object.keys(services).join('|')})(?=:\\d)`, 'g');
    return this.#pathsOf(name, word.replace(hosts, addressOf));
  }

  #pathsOf(name: string, word: string): string {
    const targets = [...mountsOf(service(name)).map(([, target]) => target), '/app/dist'];
    return targets.reduce(
      (result, target) =>
        result.replace(new RegExp(`(?<![\\w./-])${target}(?![\\w-])`, 'g'), this.#place(name, target)),
      word,
    );
  }

  #place(name: string, target: string): string {
    return target === '/app/dist' ? path.resolve('dist') : path.join(this.folder, name, target);
  }

  /** A file of a service's container. */
  file(name: string, place: string): string {
    return this.#pathsOf(name, place);
  }

  /** A copy of what is mounted, its YAML files in the words of this machine; a volume is a folder of all that mount it. */
  async #mount(name: string, source: string, target: string): Promise<void> {
    const place = this.#place(name, target);
    if (!source.startsWith('.')) {
      const volume = path.join(this.folder, 'volumes', source);
      await mkdir(volume, { recursive: true });
      await mkdir(path.dirname(place), { recursive: true });
      await symlink(volume, place);
      return;
    }
    await cp(source, place, { recursive: true, dereference: true });
    const inside = await readdir(place, { recursive: true }).catch(() => ['']);
    for (const file of inside.map((entry) => path.join(place, entry)).filter((entry) => /\.ya?ml$/.test(entry)))
      await writeFile(file, this.#translate(name, await readFile(file, 'utf8')));
  }
}

describe('the services of docker-compose.yml', { skip }, () => {
  let here: Here;
  let temporal: TemporalServer | undefined;
  before(async () => {
    here = await Here.open();
    await here.program('temporal', (await findTemporal()).path);
    await here.program('prometheus', (await findPrometheus()).path);
    await here.script(
      'promtool',
      `test "$1 $2" = 'check ready' && exec node -e 'fetch("'"\${3#--url=}"'/-/ready").then(({ ok }) => process.exit(ok ? 0 : 1))'`,
    );
    temporal = await startTemporal({ port: 7233 });
  });
  after(async () => {
    await here.stop();
    await temporal?.stop();
  });

  test('temporal-schema sets up both databases with the password of Postgres', async () => {
    const record = path.join(here.folder, 'calls');
    await here.script(
      'temporal-sql-tool',
      `echo "$SQL_PLUGIN $SQL_HOST $SQL_PORT $SQL_USER $SQL_PASSWORD: $*" >> ${record}`,
    );
    const { code, err } = await here.run('temporal-schema');
    assert.equal(code, 0, err);
    const { POSTGRES_USER, POSTGRES_PASSWORD } = service('postgres').environment ?? {};
    const settings = `postgres12 postgres 5432 ${POSTGRES_USER} ${POSTGRES_PASSWORD}`;
    const steps = (database: string, schema: string): readonly string[] => [
      `${settings}: --db ${database} create-database`,
      `${settings}: --db ${database} setup-schema --version 0.0`,
      `${settings}: --db ${database} update-schema --schema-name postgresql/v12/${schema}`,
    ];
    assert.deepEqual((await readFile(record, 'utf8')).trim().split('\n'), [
      ...steps('temporal', 'temporal'),
      ...steps('temporal_visibility', 'visibility'),
    ]);
    const server = service('temporal').environment ?? {};
    assert.deepEqual(
      [server['DB'], server['POSTGRES_SEEDS'], server['DB_PORT'], server['POSTGRES_USER'], server['POSTGRES_PWD']].join(
        ' ',
      ),
      settings,
    );
  });

  test('temporal-namespace finds the namespace, or makes it', async () => {
    for (const name of ['default', 'not-there-yet']) {
      const { code, err } = await here.run('temporal-namespace', [], { TEMPORAL_NAMESPACE: name });
      assert.equal(code, 0, err);
    }
    const told = await here.run('temporal-namespace', [], { TEMPORAL_NAMESPACE: 'not-there-yet' });
    assert.match(told.out, /not-there-yet/);
    assert.match(told.out, /72h0m0s/);
  });

  test('a release is shipped through them, judged by what Prometheus scrapes', async () => {
    await Promise.all(['gateway', 'prometheus', 'worker'].map((name) => here.start(name)));
    await here.start('traffic');
    const expected = [
      // The first release has nothing to be compared with.
      { flags: ['--tag', 'v1'], code: 0, outcome: 'completed', judged: null, serves: 'v1' },
      { flags: ['--tag', 'v2'], code: 0, outcome: 'completed', judged: 'PROMOTE', serves: 'v2' },
      {
        flags: ['--tag', 'v3', '--set', 'DEMO_ERROR_RATE=0.3'],
        code: 1,
        outcome: 'rolled-back',
        judged: 'ROLLBACK',
        serves: 'v2',
      },
    ];
    for (const { flags, code, outcome, judged, serves } of expected) {
      const said = await here.run('slipway', ['deploy', ...flags, '--wait', '--json']);
      assert.equal(said.code, code, `${said.err}${said.out}`);
      const view = JSON.parse(said.out) as RolloutView;
      assert.equal(view.outcome, outcome);
      assert.equal(view.verdicts.at(-1)?.verdict.kind ?? null, judged);
      const answer = await fetch('http://127.0.0.1:7780/local/hello/');
      assert.equal(await answer.text(), `hello from hello:${serves}\n`);
    }
    await here.start('server');
    const scraped = parse(await readFile('deploy/compose/prometheus.yml', 'utf8')) as {
      scrape_configs: { job_name: string }[];
    };
    for (const { job_name: job } of scraped.scrape_configs)
      await until(`Prometheus scrapes ${job}`, async () => (await query(`up{job="${job}"}`))[0] === '1');
    const [canary] = await query('sum(slipway_gateway_requests_total{arm="canary",version="hello:v2"})');
    assert.ok(Number(canary) >= 40, `Prometheus has ${canary} requests of the canary`);
  });

  test('the server lets in whom its file names, and the worker verifies what it signs', async () => {
    const url = 'http://127.0.0.1:7790';
    const made = await here.run('slipway', ['token', 'new', '--subject', 'developer', '--person', '--json']);
    assert.equal(made.code, 0, made.err);
    const { token, entry } = JSON.parse(made.out) as { token: string; entry: object };
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const look = async (at: string, known = true): Promise<Response> => fetch(url + at, known ? { headers } : {});
    assert.equal((await look('/runs')).status, 401);
    const file = here.file('server', '/etc/slipway/slipway-server.yaml');
    const written = parse(await readFile(file, 'utf8')) as object;
    await writeFile(file, stringify({ ...written, tokens: [entry] }));
    await here.restart('server');
    assert.equal((await look('/runs')).status, 200);
    assert.equal((await look('/runs', false)).status, 401);

    const started = await here.run('slipway', ['deploy', '--tag', 'v4', '--json']);
    const { rolloutId } = JSON.parse(started.out) as { rolloutId: string };
    const view = async (): Promise<RolloutView> =>
      ((await (await look(`/runs/${rolloutId}`)).json()) as { view: RolloutView }).view;
    await until('its canary gets traffic', async () => ((await view()).weights?.canary ?? 0) > 0);
    const said = await fetch(`${url}/runs/${rolloutId}/decisions`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ id: 'compose-1', verb: 'abort', reason: 'a test of the stack' }),
    });
    assert.equal(said.status, 200, await said.text());
    await until('it is aborted', async () => (await view()).outcome === 'aborted');
    assert.deepEqual(
      (await view()).decisions.map(({ actor }) => [actor.subject, actor.verified]),
      [['developer', true]],
    );
  });
});

/** The values that Prometheus has for a query now. */
async function query(expression: string): Promise<readonly string[]> {
  const response = await fetch(`http://127.0.0.1:9090/api/v1/query?query=${encodeURIComponent(expression)}`);
  const { data } = (await response.json()) as { data: { result: { value: [number, string] }[] } };
  return data.result.map(({ value }) => value[1]);
}
