import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CliError } from '../../client/exit-codes.js';
import { Directory } from '../../client/server/auth/people.js';
import { checkStaticToken } from '../../client/server/auth/static-token.js';
import { loadServerConfig } from '../../client/server/config.js';
import { folderPolicies, sentPolicies } from '../../client/server/policies.js';
import { ApiProblem } from '../../client/server/problems.js';
import { RateLimit } from '../../client/server/rate-limit.js';
import { loadSigningKey } from '../../client/server/signing-key.js';
import { signDecision, TrustedKeys, verifyDecision } from '../../formats/decision-token.js';
import { parseServerFile } from '../../formats/server-config.js';
import { serviceYaml, assertRefused, documentOf, runCommand } from '../support/cli.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-settings-'));
});
after(() => rm(folder, { recursive: true, force: true }));

function problems(text: string): readonly string[] {
  const read = parseServerFile(text, 'slipway-server.yaml');
  return read.ok ? [] : read.problems.map(({ line, message, remedy }) => `${line}: ${message} → ${remedy}`);
}

describe('slipway-server.yaml', () => {
  it('may be empty, and then nobody may do anything', () => {
    const read = parseServerFile('', 'f');
    assert.ok(read.ok);
    assert.deepEqual(read.warnings, ['roles is empty: nobody may do or see anything']);
  });

  it('that is wrong is told where, what, and what to do', () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ['role: []', /^1: role: is not a known key → did you mean roles\?/],
      [
        'roles: [{ role: boss, groups: [a] }]',
        /^1: roles\[0\]\.role: "boss" is not known → write one of: viewer, deployer/,
      ],
      ['roles: [{ role: viewer }]', /roles\[0\]: names nobody → add groups: \[…\] or subjects/],
      [
        'roles: [{ role: viewer, groups: [a], services: ["x\' OR 1"] }]',
        /services\[0\]: is no name → write a name, or "\*"/,
      ],
      [
        'oidc: { issuer: http://login.example.com, clientId: a }',
        /oidc\.issuer: is not an https address → write https/,
      ],
      ['oidc: { issuer: https://a, clientId: a, decideWithin: 60 }', /decideWithin/],
      ['tokens: [{ id: a, subject: s, sha256: abc, expires: "2030-01-01T00:00:00Z" }]', /sha256: is no SHA-256/],
      [`tokens: [{ id: a, subject: s, sha256: ${'a'.repeat(64)} }]`, /expires: is missing/],
      [`tokens: [{ id: a, subject: s, sha256: ${'a'.repeat(64)}, expires: tomorrow }]`, /expires: is no instant/],
      [
        'ci: [{ issuer: https://a, audience: b, subject: c, match: { ref: main } }]',
        /names no repository → add repository_id/,
      ],
      [
        'ci: [{ issuer: https://a, audience: b, subject: c, match: { repository_id: "1" } }]',
        /names neither ref, environment nor workflow/,
      ],
      ['people: [{ subject: a }, { subject: A }]', /people\[1\]\.subject: is listed twice/],
      ['people: [{ subject: a, aliases: [x] }, { subject: b, aliases: [X] }]', /x is also somebody else’s/],
    ];
    for (const [text, wanted] of cases) assert.match(problems(text).join('\n'), wanted, text);
    const token = { subject: 's', sha256: 'a'.repeat(64), expires: '2030-01-01T00:00:00Z' };
    const twice = problems(
      JSON.stringify({
        tokens: [
          { id: 'a', ...token },
          { id: 'a', ...token },
        ],
      }),
    );
    assert.match(twice.join('\n'), /tokens\[1\]\.id: is used by another token/);
    assert.match(twice.join('\n'), /tokens\[1\]\.sha256: is that of another token/);
  });

  it('makes one person of several names, and gives the roles of subject and groups', () => {
    const read = parseServerFile(
      JSON.stringify({
        people: [
          {
            subject: 'ann@example.com',
            aliases: ['ann@home.example'],
            groups: ['on-call'],
            slack: [{ team: 'T1', user: 'U1' }],
          },
        ],
        roles: [
          { role: 'viewer', subjects: ['ANN@example.com'] },
          { role: 'breakglass', groups: ['on-call'], services: ['shop'] },
          { role: 'admin', groups: ['platform'] },
        ],
      }),
      'f',
    );
    assert.ok(read.ok);
    const directory = new Directory(read.file);
    const proved = {
      subject: 'Ann@Home.example',
      name: 'Ann',
      via: 'oidc',
      groups: ['staff'],
      aliases: ['sub-1'],
      authenticatedAtMs: 1,
    } as const;
    const ann = directory.identify({ ...proved, kind: 'person' });
    assert.equal(ann.subject, 'ann@example.com');
    assert.deepEqual(ann.groups, ['staff', 'on-call']);
    assert.deepEqual(ann.aliases, ['sub-1', 'ann@home.example', 'Ann@Home.example']);
    assert.deepEqual(
      ann.grants.map(({ role, services }) => [role, services]),
      [
        ['viewer', ['*']],
        ['breakglass', ['shop']],
      ],
    );
    const machine = directory.identify({ ...proved, kind: 'machine' });
    assert.equal(machine.subject, 'Ann@Home.example', 'a machine never becomes a person');
    assert.deepEqual(machine.grants, []);
    assert.equal(directory.slackPerson('T1', 'U1')?.subject, 'ann@example.com');
    assert.equal(directory.slackPerson('T2', 'U1'), null);
  });

  it('lists who could approve in a lane, and can’t where an identity provider says who there is', () => {
    const lane = { service: 'shop', environment: 'production' };
    const token = (id: string, more: Readonly<Record<string, unknown>>) => ({
      id,
      subject: `${id}@example.com`,
      kind: 'person',
      expires: '2099-01-01T00:00:00Z',
      sha256: id.padEnd(64, '0'),
      ...more,
    });
    const whole = {
      tokens: [
        token('a', { groups: ['sec'] }),
        token('b', { groups: ['sec'], kind: 'machine' }),
        token('c', { groups: ['sec'], expires: '2020-01-01T00:00:00Z' }),
        token('d', { groups: ['other'] }),
        token('e', {}),
      ],
      people: [
        { subject: 'A@example.com', groups: ['ops'], slack: [{ team: 'T1', user: 'U1' }] },
        { subject: 'f@example.com', groups: ['sec'], slack: [{ team: 'T1', user: 'U2' }] },
        { subject: 'g@example.com', groups: ['sec'] },
      ],
      roles: [
        { role: 'approver', groups: ['sec'], services: ['shop'] },
        { role: 'viewer', groups: ['other'] },
        { role: 'admin', subjects: ['e@example.com', 'h@example.com'] },
      ],
    };
    const of = (more: object, at = lane) => {
      const read = parseServerFile(JSON.stringify({ ...whole, ...more }), 'f');
      assert.ok(read.ok);
      const people = new Directory(read.file).approvers(at, Date.parse('2026-07-01T00:00:00Z'));
      return people?.map(({ subject, groups }) => `${subject} ${groups.join()}`) ?? null;
    };
    const holders = ['A@example.com sec,ops', 'e@example.com '];
    assert.deepEqual(of({}), holders);
    assert.deepEqual(of({}, { ...lane, service: 'billing' }), ['e@example.com ']);
    const slack = { app: 'A1', team: 'T1' };
    assert.deepEqual(of({ slack }), [...holders, 'f@example.com sec']);
    const mail = [...holders, 'f@example.com sec', 'g@example.com sec', 'h@example.com '];
    assert.deepEqual(of({ slack: { ...slack, matchEmail: true } }), mail);
    assert.equal(of({ oidc: { issuer: 'https://login.example.com', clientId: 'slipway' } }), null);
  });
});

describe('the settings of the server', () => {
  const load = (env: Readonly<Record<string, string>>) => loadServerConfig(env, folder);
  const refused = async (env: Readonly<Record<string, string>>, what: RegExp): Promise<void> => {
    await assert.rejects(
      load(env),
      (error) => error instanceof CliError && error.exitCode === 2 && what.test(error.message) && error.remedy !== null,
    );
  };

  it('without a file are those of one machine', async () => {
    const config = await load({});
    assert.deepEqual([config.local, config.host, config.port, config.publicUrl], [true, '127.0.0.1', 7790, null]);
    await refused({ SLIPWAY_SERVER_HOST: '0.0.0.0' }, /would let anyone who reaches this machine deploy/);
    await refused({ SLIPWAY_PUBLIC_URL: 'https://slipway.example.com' }, /is not this machine/);
    await refused({ SLIPWAY_SERVER_FILE: 'missing.yaml' }, /missing\.yaml: there is no such file/);
  });

  it('with a file need an address that sessions are safe under', async () => {
    await writeFile(path.join(folder, 'some.yaml'), 'roles: [{ role: viewer, groups: [a] }]\npolicies: p\n');
    const SLIPWAY_SERVER_FILE = 'some.yaml';
    await refused({ SLIPWAY_SERVER_FILE, SLIPWAY_SERVER_HOST: '0.0.0.0' }, /SLIPWAY_PUBLIC_URL is not set/);
    await refused({ SLIPWAY_SERVER_FILE, SLIPWAY_PUBLIC_URL: 'http://slipway.example.com' }, /in clear/);
    await refused({ SLIPWAY_SERVER_FILE, SLIPWAY_PUBLIC_URL: 'https://a/b' }, /no http\(s\):\/\/ address without path/);
    await refused({ SLIPWAY_SERVER_FILE, SLIPWAY_SESSION_KEYS: 'short' }, /SLIPWAY_SESSION_KEYS=…/);
    await refused({ SLIPWAY_SERVER_PORT: '70000' }, /SLIPWAY_SERVER_PORT=70000/);
    const config = await load({
      SLIPWAY_SERVER_FILE,
      SLIPWAY_PUBLIC_URL: 'https://slipway.example.com/',
      SLIPWAY_SERVER_HOST: '0.0.0.0',
    });
    assert.equal(config.publicUrl, 'https://slipway.example.com');
    assert.equal(config.local, false);
    assert.equal(config.policies, path.join(folder, 'p'));
    assert.match(config.warnings.join(), /SLIPWAY_SESSION_KEYS is not set/);
  });

  it('are told by the command, which makes tokens too', async () => {
    assertRefused(await runCommand(['server'], folder, { SLIPWAY_SERVER_HOST: '0.0.0.0' }), 2, /would let anyone/);
    assertRefused(
      await runCommand(['server'], folder, { TEMPORAL_ADDRESS: '127.0.0.1:1' }),
      69,
      /Temporal can't be reached/,
    );
    const made = await runCommand(['token', 'new', '--id', 'ci', '--subject', 'robot', '--json'], folder);
    const { token, entry } = documentOf<{
      token: string;
      entry: { id: string; sha256: string; subject: string; kind: 'machine'; expires: string };
    }>(made);
    assert.match(token, /^slp_ci_[\w-]{43}_[0-9a-f]{8}$/);
    assert.equal(checkStaticToken(token, [{ ...entry, groups: [] }], Date.now()).kind, 'valid');
    assert.ok(Date.parse(entry.expires) > Date.now() + 89 * 86_400_000);
    const said = await runCommand(['token', 'new', '--subject', 'robot'], folder);
    assert.match(said.out, /^slp_[0-9a-f]{8}_[\w-]{43}_[0-9a-f]{8}\n$/);
    assert.ok(!said.err.includes(said.out.trim()), 'the token is on standard output only');
    assertRefused(await runCommand(['token', 'new', '--subject', 'a b'], folder), 2, /is no subject/);
    assertRefused(await runCommand(['token', 'old', '--subject', 'a'], folder), 2, /nothing that can be done/);
  });
});

describe('the signing key', () => {
  it('is made once, for its owner’s eyes only, and trusted; keys that were trusted before stay', async () => {
    const keyFile = path.join(folder, 'keys', 'key.json');
    const trustedFile = path.join(folder, 'keys', 'trusted.json');
    const [one, other] = await Promise.all([
      loadSigningKey(keyFile, trustedFile),
      loadSigningKey(keyFile, trustedFile),
    ]);
    assert.equal(one.id, other.id);
    assert.equal((await stat(keyFile)).mode & 0o777, 0o600);
    const decision = {
      id: 'd',
      verb: 'abort',
      gate: null,
      planDigest: null,
      actor: { subject: 'a', groups: [], verified: false },
      reason: null,
      full: false,
      at: '',
    } as const;
    const signature = await signDecision(one, 'r', decision, Date.now());
    const trusted = async () => TrustedKeys.parse(JSON.parse(await readFile(trustedFile, 'utf8')));
    assert.deepEqual(await verifyDecision(await trusted(), 'r', { ...decision, signature }), { kind: 'valid' });
    await rm(keyFile);
    const next = await loadSigningKey(keyFile, trustedFile);
    assert.notEqual(next.id, one.id);
    assert.deepEqual(
      (await trusted()).keys.map(({ kid }) => kid),
      [one.id, next.id],
    );
    assert.ok(!(await readFile(trustedFile, 'utf8')).includes('"d"'), 'no private part');
    await writeFile(keyFile, '{"kty":"RSA"}');
    await assert.rejects(loadSigningKey(keyFile, trustedFile), /is no private Ed25519 key/);
  });
});

describe('policies', () => {
  const code = (wanted: string) => (error: unknown) => error instanceof ApiProblem && error.code === wanted;
  it('of a folder are the only ones, and are read again when they change', async () => {
    const place = path.join(folder, 'policies');
    await mkdir(path.join(place, 'shop'), { recursive: true });
    const file = path.join(place, 'shop', 'slipway.yaml');
    await writeFile(file, serviceYaml({ service: 'shop', gateway: 'http://127.0.0.1:7700' }));
    const warnings: string[] = [];
    let nowMs = Date.now();
    const policies = await folderPolicies(
      place,
      (text) => warnings.push(text),
      () => nowMs,
    );
    assert.equal((await policies.find('shop', 'local', null)).policy.approval.required, 'never');
    const sent = await policies.find('shop', 'local', 'service: shop');
    assert.equal(sent.policy.approval.required, 'never');
    assert.match(sent.remark ?? '', /keeps its own policies/);
    assert.equal((await policies.kept({ service: 'shop', environment: 'local' }))?.approval.required, 'never');
    assert.equal(await sentPolicies().kept({ service: 'shop', environment: 'local' }), null);
    await assert.rejects(policies.find('other', 'local', null), code('no-policy'));
    await assert.rejects(policies.find('shop', 'production', null), code('no-policy'));
    const rewrite = async (text: string): Promise<void> => {
      await writeFile(file, text);
      await utimes(file, new Date(), new Date(nowMs + 60_000));
      nowMs += 11_000;
    };
    await rewrite(
      serviceYaml({ service: 'shop', gateway: 'http://127.0.0.1:7700', more: ['approval: { required: always }'] }),
    );
    assert.equal((await policies.find('shop', 'local', null)).policy.approval.required, 'always');
    await rewrite('service: shop\nenvironments: 3\n');
    assert.equal(
      (await policies.find('shop', 'local', null)).policy.approval.required,
      'always',
      'what it said before',
    );
    assert.match(warnings.join('\n'), /has become invalid.*environments/s);
    await assert.rejects(
      folderPolicies(place, () => undefined),
      /can't be used/,
    );
    await assert.rejects(
      folderPolicies(path.join(folder, 'nowhere'), () => undefined),
      /can't be read/,
    );
  });

  it('that callers send are about the service that they name', async () => {
    const sent = serviceYaml({ service: 'shop', gateway: 'http://127.0.0.1:7700' });
    assert.equal((await sentPolicies().find('shop', 'local', sent)).policy.lane.service, 'shop');
    await assert.rejects(sentPolicies().find('other', 'local', sent), code('invalid-policy'));
    await assert.rejects(sentPolicies().find('shop', 'local', null), code('no-policy'));
  });
});

describe('the rate limit', () => {
  it('lets a burst through, then so many a second, each caller for itself', () => {
    let nowMs = 0;
    const limit = new RateLimit({ burst: 3, perSecond: 2 }, () => nowMs);
    for (let n = 0; n < 3; n += 1) limit.take('a');
    assert.throws(
      () => limit.take('a'),
      (error) => error instanceof ApiProblem && error.more.headers?.['Retry-After'] === '1',
    );
    limit.take('b');
    nowMs += 500;
    limit.take('a');
    assert.throws(() => limit.take('a'));
    nowMs += 60_000;
    for (let n = 0; n < 3; n += 1) limit.take('a');
    assert.throws(() => limit.take('a'));
  });
});
