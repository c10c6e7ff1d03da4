import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Slipway } from '../../client/slipway.js';
import type { RolloutView } from '../../domain/rollout.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { freePort } from '../../tools/supervise.js';
import {
  assertRefused,
  documentOf,
  journalOf,
  serviceFolder,
  serviceYaml,
  severalAtOnce,
  story,
  Terminal,
} from '../support/cli.js';
import type { Said } from '../support/cli.js';

/** A file, and what must be said of it. */
type BadFile = readonly [what: string, more: readonly string[], ...texts: RegExp[]];

/** Arguments, and what must be said of them. */
type BadArguments = readonly [args: readonly string[], ...texts: RegExp[]];

const STAGES = 'environments.local.stages';

const BAD_FILES: readonly BadFile[] = [
  ['a weight that does not rise', ['stages: [{ weight: 50% }, { weight: 10% }]'], /stages\[1\]/, /10/, /rise/],
  ['a weight that stays', ['stages: [{ weight: 10% }, { weight: 10% }]'], /stages\[1\]/, /rise/],
  ['a weight above 100', ['stages: [{ weight: 120% }]'], /stages\[0\]\.weight: "120%" is no weight/, /up to 99%/],
  ['all of the traffic in a stage', ['stages: [{ weight: 100 }]'], /100 is no weight/, /comes with the promotion/],
  ['a weight of nothing', ['stages: [{ weight: 0% }]'], /"0%" is no weight/],
  ['a weight that can be read in two ways', ['stages: [{ weight: 0.5 }]'], /0\.5 can be read in two ways/, /0\.5%/],
  ['no stage at all', ['stages: []'], new RegExp(STAGES)],
  ['a duration without a unit', ['verify: 5'], /environments\.local\.verify: 5 has no unit/, /write 5s .* or 5m/],
  ['an unknown key', ['stagez: []'], /environments\.local\.stagez: is not a known key/, /did you mean stages\?/],
  ['a key in the wrong place', ['replicas: 3'], /replicas: is not a known key/, /belongs under run/],
  ['a misspelt command', ['run: { comand: [node] }'], /run\.comand: is not a known key/, /did you mean command\?/],
  ['no command', ['run: { replicas: 1 }'], /run\.command: is missing/, /add run: \{ command: /],
  ['an empty command', ['run: { command: [] }'], /run\.command: the list is empty/],
  ['too many replicas', ['run: { command: [node], replicas: 100000 }'], /100000/, /from 1 to 1000/],
  ['a platform that does not exist', ['gateway: localhost:7700'], /gateway: "localhost:7700" is no http address/],
  ['a choice that does not exist', ['whenBusy: maybe'], /whenBusy: "maybe" is not known/, /queue, supersede, reject/],
  ['a quorum of nobody', ['approval: { quorum: 0 }'], /approval\.quorum: 0/, /from 1 to 20/],
  [
    'a secret in place of a name',
    ['notify: ["https://hooks.example.com/T0/s3cret"]'],
    /notify\[0\]/,
    /never an address/,
  ],
  ['text for a number', ['analysis: { minRequests: many }'], /analysis\.minRequests: "many"/, /whole number/],
  ['a time zone that does not exist', ['risk: { timeZone: Europe/Atlantis }'], /"Europe\/Atlantis" is no time zone/],
];

const MALFORMED: readonly (readonly [what: string, text: string, ...texts: RegExp[]])[] = [
  ['nothing', '', /is empty/, /service: NAME/],
  ['no mapping', '- a\n- b\n', /a list is not a mapping/],
  ['brackets that are not closed', 'service: hello\nenvironments: [\n', /slipway\.yaml:\d+:\d+: /],
  ['a tab', 'service: hello\nenvironments:\n\tlocal: {}\n', /slipway\.yaml:3:\d+: .*tab/i],
  ['the same key twice', 'service: a\nservice: b\nenvironments: { local: {} }\n', /slipway\.yaml:2:1: /],
  ['no service', 'environments: { local: { platform: local, run: { command: [a] } } }\n', /service: is missing/],
  [
    'a service with a name that no object can have',
    'service: Hello World\nenvironments: { local: { platform: local, run: { command: [a] } } }\n',
    /service: "Hello World"/,
    /lower-case/,
  ],
  ['no environment', 'service: hello\nenvironments: {}\n', /no environment is described/],
  [
    'control characters',
    'service: "\\e[2Jhello"\nenvironments: { local: { platform: local, run: { command: [a] } } }\n',
    /service: /,
  ],
];

/** Commands that read the file, by turns. */
const WITH_FILE: readonly (readonly string[])[] = [
  ['deploy', '--no-git', '--tag', 'v1'],
  ['plan', '--no-git', '--tag', 'v1'],
  ['lint'],
];

/** All are said before anything is asked or touched. */
const BAD_ARGUMENTS: readonly BadArguments[] = [
  [['frobnicate'], /unknown command 'frobnicate'/, /see `slipway --help`/],
  [['deploi', '--tag', 'v1'], /unknown command 'deploi'/, /Did you mean deploy\?/],
  [['deploy', '--tagg', 'v1'], /unknown option '--tagg'/, /see `slipway deploy --help`/],
  [['deploy'], /nothing to deploy: neither --tag nor --image is given/, /--tag v2/],
  [['deploy', 'other', '--tag', 'v1'], /slipway\.yaml is about service "hello", not "other"/, /--file/],
  [['deploy', 'hello', 'again', '--tag', 'v1'], /too many arguments/],
  [['deploy', '--tag', 'v1', '--env', 'prod'], /no environment "prod" for the service hello/, /choose one of: local/],
  [['deploy', '--tag', 'v1', '--env', 'locl'], /did you mean local\?/],
  [['deploy', '--tag', 'v1', '--env', 'constructor'], /no environment "constructor"/],
  [['deploy', '--tag', 'v 1'], /--tag "v 1" is no image tag/, /letters, digits/],
  [['deploy', '--tag', ''], /--tag has an empty value/, /leave it out/],
  [['deploy', '--tag', 'v1', '--key', ''], /--key has an empty value/],
  [['deploy', '--tag', 'v1', '--as', ''], /--as has an empty value/],
  [['deploy', '--tag', 'v1', '--group', 'a', '--group', ''], /--group has an empty value/],
  [['deploy', '--image', 'sidecar=x:v1'], /--image names no container of the service: sidecar/, /known: app/],
  [['deploy', '--image', 'constructor=x:v1'], /--image names no container of the service: constructor/],
  [['deploy', '--image', 'hello:v1'], /--image "hello:v1" has no =/, /--image NAME=VALUE/],
  [['deploy', '--image', 'app=two words'], /--image app=two words is no image reference/],
  [['deploy', '--tag', 'v1', '--set', 'FLAG'], /--set "FLAG" has no =/],
  [['deploy', '--tag', 'v1', '--set', 'FLAG='], /--set "FLAG=" has no value/],
  [['deploy', '--tag', 'v1', '--set', 'A B=1'], /--set: "A B" is no name of a variable/],
  [
    ['deploy', '--tag', 'v1', '--use-config-map', 'app'],
    /--use-config-map "app" has no =/,
    /--use-config-map NAME=VALUE/,
  ],
  [['deploy', '--tag', 'v1', '--use-secret', 'db=DB 2'], /--use-secret: "DB 2" is no name of a Kubernetes object/],
  [
    ['deploy', '--tag', 'v1', '--use-secret', 'db=db-2'],
    /--use-secret: the platform local has no such objects/,
    /--set/,
  ],
  [['deploy', '--tag', 'v1', '--wait=soon'], /--wait=soon is not known/, /--wait=held/],
  [['deploy', '--tag', 'v1', '--wait-timeout', '5m'], /--wait-timeout needs --wait/],
  [['deploy', '--tag', 'v1', '--wait', '--wait-timeout', '5'], /--wait-timeout "5" is no duration/, /90s/],
  [['deploy', '--tag', 'v1', '--base', 'main'], /--base main: git can't read/, /leave --base out/],
  [['deploy', '--tag', 'v1', '--file', 'nowhere.yaml'], /there is no file nowhere\.yaml/, /--file/],
  [['deploy', '--tag', 'v1', '--file', '.'], /\. can't be read: EISDIR/],
  [['plan'], /nothing to deploy/],
  [['plan', 'other', '--tag', 'v1'], /is about service "hello", not "other"/],
  [['lint', '--file', 'nowhere.yaml'], /there is no file nowhere\.yaml/],
  [['status'], /missing required argument 'rollout'/, /see `slipway status --help`/],
  [['watch', '0000000000000000', '--timeout', 'soon'], /--timeout "soon" is no duration/],
  [['list', '--limit', '0'], /--limit "0" is not accepted/, /from 1 to 1000/],
  [['list', '--limit', 'ten'], /--limit "ten" is not accepted/],
  [['list', '--outcome', 'lost'], /'lost' is invalid.*completed, rolled-back/],
  [['list', '--service', "x' OR '1'='1"], /is no name/],
  [['lane', 'hello'], /required option '--env <name>' not specified/],
  [['lane', 'unblock', 'hello', '--env', 'local'], /unblocking a lane needs a reason/, /--reason/],
  [['local-gateway', '--admin-port', 'http'], /--admin-port "http" is not accepted/, /0 to 65535/],
  [
    ['local-gateway', '--state-dir', 'slipway.yaml', '--admin-port', '0'],
    /state directory slipway\.yaml can't be used/,
  ],
  [['worker', '--port', '1'], /unknown option '--port'/],
];

/** These need an answer of Temporal first. */
const UNKNOWN_ROLLOUTS: readonly BadArguments[] = [
  [['status', 'nonsense'], /"nonsense" is no rollout id: 16 hex digits/, /slipway list/],
  [['status', '0000000000000000'], /there is no rollout 0000000000000000/, /slipway list/],
  [['approve', '0000000000000000'], /there is no rollout 0000000000000000/],
  [['retry', 'local/hello/0000000000000000'], /there is no rollout 0000000000000000 of hello in local/],
  [['status', "local/he'llo/0000000000000000"], /there is no rollout/],
  [['lane', 'hello', '--env', 'local'], /hello was never deployed to local/],
  [['lane', 'unblock', 'hello', '--env', 'local', '--reason', 'x'], /there is no lane of hello in local/],
];

/** Refused with the right code and words; with `--json` the same as exactly one document. */
function assertDocument(said: Said, code: number): void {
  const { error } = documentOf<{
    readonly error: { readonly message: string; readonly remedy: string | null; readonly exitCode: number };
  }>(said);
  assert.equal(error.exitCode, code, story(said));
  assert.ok(error.message.length > 10, story(said));
  assert.equal(said.code, code);
}

describe('bad input', () => {
  let stack: Stack;
  let client: Slipway;
  let slipway: Terminal;
  let hello: Terminal;
  let folder: string;
  before(async () => {
    stack = await startStack({ progressDeadlineSeconds: 3 });
    await stack.startWorker();
    client = await Slipway.connect(stack.env);
    slipway = new Terminal(stack, client);
    folder = await serviceFolder(stack, { service: 'hello', gateway: stack.adminUrl });
    hello = slipway.in(folder);
  });
  after(async () => {
    await client.close();
    await stack.stop();
  });

  /** A terminal in the folder of a service of its own. */
  async function service(name: string, ...more: readonly string[]): Promise<Terminal> {
    return slipway.in(await serviceFolder(stack, { service: name, gateway: stack.adminUrl, more }));
  }

  describe('has no effect', () => {
    after(async () => {
      assert.deepEqual(await journalOf(stack, 'hello'), []);
      assert.deepEqual(await hello.json('list', '--service', 'hello'), { rollouts: [] });
      assert.equal(await client.lane({ service: 'hello', environment: 'local' }), null);
    });

    it('in slipway.yaml: each problem is named with its place, its value and what to write instead', async () => {
      await severalAtOnce([...BAD_FILES.entries()], async ([index, [what, more, ...texts]]) => {
        const name = `bad-${index}.yaml`;
        await writeFile(path.join(folder, name), serviceYaml({ service: 'hello', gateway: stack.adminUrl, more }));
        const said = await hello.run(...(WITH_FILE[index % 3] ?? []), '--file', name);
        assertRefused(said, 2, new RegExp(`^slipway: ${name} is not valid:\\n${name}:\\d+:\\d+: `, 'm'), ...texts);
        assert.equal(said.out, '', what);
        // What is secret is not repeated.
        if (what.includes('secret')) assert.doesNotMatch(said.err.replaceAll(/^ {4}.*$/gm, ''), /s3cret/);
      });
    });

    it('in a malformed slipway.yaml: the same from deploy, plan and lint, also as JSON', async () => {
      await severalAtOnce([...MALFORMED.entries()], async ([index, [, text, ...texts]]) => {
        const at = slipway.in(await serviceFolder(stack, { service: `malformed-${index}`, gateway: stack.adminUrl }));
        await writeFile(path.join(stack.folder, 'services', `malformed-${index}`, 'slipway.yaml'), text);
        const said = await at.run(...(WITH_FILE[index % 3] ?? []), '--json');
        assertRefused(said, 2, ...texts);
        assertDocument(said, 2);
      });
    });

    it('in arguments: each is named, with what to write instead', async () => {
      await severalAtOnce([...BAD_ARGUMENTS.entries()], async ([index, [args, ...texts]]) => {
        const json = index % 4 === 0;
        const said = await hello.run(
          ...args,
          ...(json ? ['--json'] : []),
          ...(args.includes('--base') ? [] : gitless(args)),
        );
        assertRefused(said, 2, ...texts);
        if (json) assertDocument(said, 2);
        else assert.equal(said.out, '', story(said));
      });
    });

    it('in the name of a rollout or lane that does not exist', async () => {
      await severalAtOnce(UNKNOWN_ROLLOUTS, async ([args, ...texts]) => {
        const said = await hello.run(...args, '--json');
        assertRefused(said, 2, ...texts);
        assertDocument(said, 2);
      });
    });

    it('where several environments are there and none is named', async () => {
      const text = serviceYaml({ service: 'hello', gateway: stack.adminUrl });
      await writeFile(path.join(folder, 'two.yaml'), `${text}  prod: { platform: local, run: { command: [a] } }\n`);
      const said = await hello.run('deploy', '--no-git', '--tag', 'v1', '--file', 'two.yaml');
      assertRefused(said, 2, /two\.yaml has several environments: local, prod/, /--env/);
    });

    it('while Temporal is out of reach, has no such namespace, or its settings are wrong', async () => {
      const dead = `127.0.0.1:${await freePort()}`;
      const cases: readonly (readonly [number, Readonly<Record<string, string>>, readonly string[], ...RegExp[]])[] = [
        ...[
          ['deploy', '--no-git', '--tag', 'v1', '--wait'],
          ['list'],
          ['approve', '0000000000000000'],
          ['stuck'],
          ['setup'],
          ['worker'],
        ].map(
          (args) =>
            [
              69,
              { TEMPORAL_ADDRESS: dead },
              args,
              new RegExp(`Temporal can't be reached at ${dead}`),
              /start it, or set TEMPORAL_ADDRESS/,
            ] as const,
        ),
        ...[['deploy', '--no-git', '--tag', 'v1'], ['list'], ['setup'], ['worker']].map(
          (args) =>
            [69, { TEMPORAL_NAMESPACE: 'nowhere' }, args, /has no namespace "nowhere"/, /TEMPORAL_NAMESPACE/] as const,
        ),
        [
          2,
          { TEMPORAL_PROFILE: 'nobody' },
          ['list'],
          /settings for Temporal can't be used: .*nobody/,
          /TEMPORAL_PROFILE/,
        ],
        [2, { TEMPORAL_TLS_CLIENT_CERT_PATH: '/nowhere.pem' }, ['list'], /\/nowhere\.pem/, /TEMPORAL_TLS/],
      ];
      await severalAtOnce(
        cases,
        async ([code, env, args, ...texts]) => {
          const said = await slipway.in(folder, { SLIPWAY_HTTP_PORT: '0', ...env }).run(...args, '--json');
          assertRefused(said, code, ...texts);
          assertDocument(said, code);
        },
        4,
      );
    });

    it('of a worker: wrong settings, a port that is taken, a folder that can’t be written', async () => {
      const taken = new URL(stack.adminUrl).port;
      const cases: readonly (readonly [Readonly<Record<string, string>>, ...RegExp[]])[] = [
        [{ SLIPWAY_LOG_LEVEL: 'loud', SLIPWAY_MAX_WATCHES: '0' }, /SLIPWAY_LOG_LEVEL=loud/, /SLIPWAY_MAX_WATCHES=0/],
        [{ SLIPWAY_HTTP_PORT: taken }, new RegExp(`port of /metrics.* is taken .*${taken}`), /SLIPWAY_HTTP_PORT/],
        [
          { SLIPWAY_DATA_DIR: path.join(folder, 'slipway.yaml') },
          /evidence folder .* can't be written/,
          /SLIPWAY_DATA_DIR/,
        ],
        [{ DOCKER_CONFIG: folder }, /DOCKER_CONFIG: .*config\.json can't be read \(ENOENT\)/],
        [{ TEMPORAL_ADDRESS: 'what is this' }, /"what is this" is no address of Temporal/, /host:port/],
      ];
      await severalAtOnce(cases, async ([env, ...texts]) =>
        assertRefused(await slipway.in(folder, { SLIPWAY_HTTP_PORT: '0', ...env }).run('worker'), 2, ...texts),
      );
    });

    it('of a plan while the gateway is out of reach', async () => {
      const gateway = `http://127.0.0.1:${await freePort()}`;
      await writeFile(path.join(folder, 'down.yaml'), serviceYaml({ service: 'hello', gateway }));
      const said = await hello.run('plan', '--no-git', '--tag', 'v1', '--file', 'down.yaml', '--json');
      assertRefused(said, 69, new RegExp(`local gateway at ${gateway}.*can't be reached`), /slipway local-gateway/);
      assertDocument(said, 69);
    });
  });

  describe('that shows only later', { concurrency: 4 }, () => {
    it('a gateway out of reach: nothing ships, and the code is that of a missing service', async () => {
      const gateway = `http://127.0.0.1:${await freePort()}`;
      const at = slipway.in(await serviceFolder(stack, { service: 'no-gateway', gateway }));
      const said = await at.run('deploy', '--no-git', '--tag', 'v1', '--wait', '--json');
      assertRefused(said, 69, new RegExp(`^slipway: rejected: .*local gateway at ${gateway}.*can't be reached`, 'm'));
      assert.equal(documentOf<RolloutView>(said).reason?.code, 'platform-unreachable');
    });

    it('a command that can’t be started: the first release is taken back, with the reason', async () => {
      const at = await service('no-command', 'run: { command: [no-such-program, --port, "{port}"], replicas: 1 }');
      const said = await at.run('deploy', '--no-git', '--tag', 'v1', '--wait');
      assertRefused(said, 1, /^slipway: rolled-back: stable did not become ready: .*no-such-program/m);
      const left = (await journalOf(stack, 'no-command')).filter(({ kind }) => kind === 'arm').at(-1);
      assert.equal(left?.verb, 'delete');
    });

    it('a command that ends, and a port that does not come up: the canary gets no traffic, stable stays', async () => {
      const endings: readonly (readonly [string, string, RegExp])[] = [
        [
          'crashes',
          `run: { command: [node, -e, "console.error('no database'); process.exit(3)"], replicas: 1 }`,
          /code 3.*no database/s,
        ],
        [
          'no-port',
          'run: { command: [node, -e, "setInterval(() => undefined, 1000)"], replicas: 1 }',
          /not ready|ECONNREFUSED|\/healthz/,
        ],
      ];
      await severalAtOnce(endings, async ([name, run, reason]) => {
        await (await service(name)).expect(0, 'deploy', '--no-git', '--tag', 'v1', '--wait', '--json');
        const broken = await service(name, run);
        const said = await broken.run('deploy', '--no-git', '--tag', 'v2', '--wait');
        assertRefused(said, 1, /^slipway: rolled-back: canary did not become ready: /m, reason);
        const routes = (await journalOf(stack, name)).filter(({ kind }) => kind === 'route');
        for (const { change } of routes.filter((entry) => entry.change.startsWith('weights')))
          assert.equal(change, 'weights 100/0/0');
        const answer = await fetch(`${stack.dataUrl}/local/${name}/`);
        assert.equal(await answer.text(), `hello from ${name}:v1\n`);
      });
    });

    it('a Prometheus out of reach: held as blind, alerted, and rolled back at the deadline; never promoted', async () => {
      const prometheus = `http://127.0.0.1:${await freePort()}`;
      await (await service('blind')).expect(0, 'deploy', '--no-git', '--tag', 'v1', '--wait', '--json');
      const at = await service(
        'blind',
        `metrics: { prometheus: "${prometheus}" }`,
        'stages: [{ weight: 50%, for: 2s }]',
        'waits: { progress: 20s, blind: 4s }',
      );
      const id = await at.deploy('--tag', 'v2');
      const held = await at.until(id, 'the canary can’t be seen', ({ wait }) => wait?.kind === 'blind');
      assert.ok(held.wait?.reason.includes(prometheus), held.wait?.reason);
      const said = await at.run('watch', id);
      assertRefused(
        said,
        1,
        /^slipway: rolled-back: blind for too long: can't see the canary: /m,
        new RegExp(prometheus),
      );
      const view = await at.view(id);
      assert.ok(!view.verdicts.some(({ verdict }) => verdict.kind === 'PROMOTE'));
      const weights = (await journalOf(stack, 'blind')).findLast(({ change }) => change.includes('weights'));
      assert.match(weights?.change ?? '', /weights 100\/0\/0/);
    });

    it('no worker: it is said, with what to start, and saying it again does nothing twice', async () => {
      const at = await service('no-worker');
      const said = await at
        .in(path.join(stack.folder, 'services', 'no-worker'), { SLIPWAY_TASK_QUEUE: 'nobody' })
        .run('deploy', '--no-git', '--tag', 'v1', '--key', 'once');
      assertRefused(
        said,
        69,
        /no worker answered on task queue "nobody"/,
        /start one with `slipway worker`/,
        /nothing is done twice/,
      );
      assert.deepEqual(await journalOf(stack, 'no-worker'), []);
    });

    it('a decision on a finished rollout, the same key with another payload: refused, and nothing is written', async () => {
      const at = await service('finished');
      const id = await at.deploy('--tag', 'v1', '--key', 'build-1');
      await at.expect(0, 'watch', id);
      const written = await journalOf(stack, 'finished');
      const again = await at.expect(0, 'deploy', '--no-git', '--tag', 'v1', '--key', 'build-1', '--wait');
      assert.match(again.err, /asked for before: the same rollout/);
      assertRefused(
        await at.run('deploy', '--no-git', '--tag', 'v2', '--key', 'build-1'),
        2,
        /this idempotency key was used for another payload/,
        new RegExp(`slipway status ${id}`),
      );
      for (const verb of ['abort', 'approve'])
        assertRefused(await at.run(verb, id), 2, new RegExp(`rollout ${id} is over \\(completed\\)`));
      const refused = await at.run('pause', id, '--json');
      assertDocument(refused, 2);
      assert.deepEqual(await journalOf(stack, 'finished'), written);
      const { rollouts } = await at.json<{ readonly rollouts: readonly unknown[] }>('list', '--service', 'finished');
      assert.equal(rollouts.length, 1);
    });
  });
});

/** Tests of arguments run outside of a checkout: what Git would say is not theirs. */
function gitless([command]: readonly string[]): readonly string[] {
  return command === 'deploy' || command === 'plan' ? ['--no-git'] : [];
}
