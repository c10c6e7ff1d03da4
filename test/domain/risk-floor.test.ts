import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { STRATEGIES } from '../../domain/policy.js';
import type { Strategy } from '../../domain/policy.js';
import type { ChangedFile } from '../../domain/release.js';
import type { ModelOpinion, Risk } from '../../domain/risk.js';
import {
  combineRisk,
  DEFAULT_RISK_POLICY,
  levelOf,
  riskFloor,
  strategyFor,
  weightOf,
} from '../../domain/risk-floor.js';
import type { RiskInput } from '../../domain/risk-floor.js';

const policy = DEFAULT_RISK_POLICY;

function file(path: string, lines = 10): ChangedFile {
  return { path, added: lines, deleted: 0 };
}

/** A Tuesday noon, tier 2, nothing rolled back. */
function floorOf(files: readonly (string | ChangedFile)[] | null, change: Partial<RiskInput> = {}): Risk {
  return riskFloor({
    files: files?.map((item) => (typeof item === 'string' ? file(item) : item)) ?? null,
    truncated: false,
    message: 'a change',
    settings: [],
    tier: 2,
    recentRollbackDays: null,
    localHour: 12,
    localWeekday: 2,
    policy,
    ...change,
  });
}

function ids(risk: Risk): readonly string[] {
  return risk.factors.map(({ id }) => id);
}

function many(count: number, lines: number): readonly ChangedFile[] {
  return Array.from({ length: count }, (_, index) => file(`src/part${index}.ts`, lines));
}

function short({ score, strategy, approval }: Risk): readonly [number, Strategy, boolean] {
  return [score, strategy, approval];
}

describe('the worked examples', () => {
  const examples: readonly (readonly [string, Risk, number, Strategy, boolean])[] = [
    ['documentation', floorOf(['README.md', 'docs/guide.rst', 'docs/picture.png']), 0.02, 'direct', false],
    ['looks', floorOf(['web/button.css', 'web/logo.webp']), 0.02, 'direct', false],
    ['tests only', floorOf(['test/a.test.ts', 'src/login.spec.ts', 'README.md']), 0.05, 'direct', false],
    ['small code', floorOf(['src/hello.ts']), 0.15, 'canary_25', false],
    ['300 lines in 8 files', floorOf(many(8, 40)), 0.312, 'canary_25', false],
    ['1,500 lines in 30 files', floorOf(many(30, 50)), 0.477, 'canary_10', false],
    ['lockfile alone', floorOf(['package-lock.json']), 0.363, 'canary_10', false],
    ['configuration', floorOf(['config/prod.yaml']), 0.32, 'canary_25', false],
    ['API contract', floorOf(['api/shop.proto']), 0.363, 'canary_10', false],
    ['additive migration', floorOf(['db/migrations/7_add_email.sql']), 0.405, 'canary_10', false],
    ['infrastructure', floorOf(['infra/main.tf']), 0.405, 'canary_10', false],
    ['destructive migration', floorOf(['db/migrations/7_drop_users.sql']), 0.673, 'canary_5', true],
    ['empty list', floorOf([]), 0.575, 'canary_5', true],
    ['no list', floorOf(null), 0.575, 'canary_5', true],
  ];
  for (const [name, risk, score, strategy, approval] of examples) {
    it(name, () => assert.deepEqual(short(risk), [score, strategy, approval], JSON.stringify(risk.factors)));
  }

  it('levels', () => {
    assert.deepEqual([0, 0.249, 0.25, 0.499, 0.5, 0.749, 0.75, 1].map(levelOf), [
      'low',
      'low',
      'medium',
      'medium',
      'high',
      'high',
      'critical',
      'critical',
    ]);
  });

  it("strategies and approval follow the team's thresholds", () => {
    const scores = [0, 0.149, 0.15, 0.349, 0.35, 0.549, 0.55, 1];
    const strategies = scores.map((score) => strategyFor(score, policy));
    assert.deepEqual(strategies, [
      'direct',
      'direct',
      'canary_25',
      'canary_25',
      'canary_10',
      'canary_10',
      'canary_5',
      'canary_5',
    ]);
    const anxious = { ...policy, approvalFrom: 0.1, canary5From: 0.15 };
    assert.deepEqual(short(floorOf(['src/hello.ts'], { policy: anxious })), [0.15, 'canary_5', true]);
  });
});

describe('rules on paths', () => {
  const hits: Readonly<Record<string, readonly string[]>> = {
    migration: [
      'db/migrations/7.rb',
      'x/alembic/versions/a.py',
      'docs/db/001.sql',
      'V2__add.sql',
      'db/schema.rb',
      'prisma/schema.prisma',
      'db/changelog/1.xml',
      'DB\\Migrations\\7.cs',
      'test/migrations/001.sql',
    ],
    infrastructure: [
      'main.tf',
      'k8s/app.yaml',
      'services/a/helm/x.tpl',
      'Dockerfile.prod',
      'docker-compose.dev.yml',
      'compose.yaml',
      'kustomization.yaml',
      '.github/workflows/docs.yml',
      '.github/workflows/test.yml',
      '.gitlab-ci.yml',
      'Jenkinsfile',
      '.circleci/config.yml',
      'slipway.yaml',
      'deploy/test/run.sh',
    ],
    api: ['a.proto', 'schema.graphql', 'x.avsc', 'openapi-v2.yaml', 'buf.gen.yaml', 'a.xsd'],
    sensitive: [
      'src/auth/x.ts',
      'src/Login.tsx',
      'lib/oauth2.go',
      'jwt.ts',
      'parseJwt.ts',
      'JwtParser.java',
      'authorization.ts',
      'acl/x.ts',
      'tls.go',
      'mtls/x.go',
      'billing/x.ts',
      'src/checkout.ts',
      'refunds.py',
      'pаymеnt.ts', // Cyrillic а and е: also `unknown`
      '𝐚𝐮𝐭𝐡.ts',
    ],
    config: [
      '.env.production',
      'config/x.ts',
      'values-prod.yaml',
      'appsettings.json',
      'flags/new.json',
      'a.properties',
    ],
    dependency: [
      'package.json',
      'yarn.lock',
      'requirements-dev.txt',
      'go.mod',
      'vendor/x/y.go',
      'App.csproj',
      'Cargo.toml',
    ],
    ai: ['prompts/system.md', 'a/evals/x.json', 'system.prompt.txt', 'models/pinned.json'],
    opaque: ['lib/native.so', 'web/app.min.js', 'api/x.pb.go', '.gitmodules', 'tests/files/bad.xz'],
  };
  for (const [id, paths] of Object.entries(hits)) {
    it(id, () => {
      for (const path of paths) assert.ok(ids(floorOf([path])).includes(id), `${path}: ${ids(floorOf([path])).join()}`);
    });
  }

  it('plain code hits none', () => {
    const paths = [
      'src/author.ts',
      'src/oracle.ts',
      'src/AuthorList.ts',
      'lib/miracle.go',
      'subtitles.py',
      'cmd/main.go',
    ];
    for (const path of paths) assert.deepEqual(ids(floorOf([path])), ['base.code'], path);
  });

  it('documentation is an allow-list, and no rule may hit', () => {
    for (const path of [
      'README.md.sh',
      'x.mdx',
      'docs/conf.py',
      'docs/run.sh',
      'a.svg',
      'robots.txt',
      'README.ⅿd',
      '.md/x',
    ])
      assert.ok(floorOf([path]).score >= 0.15, path);
    for (const path of ['docs/db/001.sql', '.github/README.md', 'prompts/system.md', 'requirements.txt'])
      assert.ok(floorOf([path]).score > 0.15, path);
  });

  it('a test of logins is not the login, but a migration in a test folder is a migration', () => {
    assert.deepEqual(ids(floorOf(['test/auth/login.test.ts'])), ['base.tests']);
    assert.ok(ids(floorOf(['test/db/migrations/1.sql'])).includes('migration'));
  });

  it('both names of a rename are judged', () => {
    const renamed = floorOf([{ ...file('docs/readme.md'), oldPath: 'src/auth/login.ts' }]);
    assert.deepEqual(ids(renamed), ['base.code', 'sensitive']);
    assert.ok(ids(floorOf([{ ...file('src/a.ts'), oldPath: '../a.ts' }])).includes('unknown'));
  });

  it('what can not be judged is unknown, and a person must approve', () => {
    const odd = [
      '../etc/x.md',
      'docs/../x.md',
      '/etc/x.md',
      'C:\\x.md',
      '',
      'a\0.md',
      'a\u202Egpj.md',
      'a\u200B.md',
      'a\uFE0F.md',
      'dосs/x.md',
      'src/раyments.ts',
      'docs\\..\\x.md',
      './../x.md',
      '\uD800.md',
      'a\u{E0041}.md',
    ];
    for (const path of odd) {
      const risk = floorOf([path]);
      assert.ok(ids(risk).includes('unknown') && risk.approval, JSON.stringify(path));
    }
    for (const path of ['docs/руководство.md', 'docs/ガイドv2.md', 'docs/日本語abc.md', 'docs/café.md', './README.md'])
      assert.deepEqual(ids(floorOf([path])), ['base.docs'], path);
  });

  it('hostile names take no long time', () => {
    const started = performance.now();
    for (const part of ['config', 'docs/', '.prompt', 'requirements', 'auth', 'раy', '/..', 'x.min.']) {
      for (const length of [4000, 500_000]) floorOf([part.repeat(length / part.length)]);
    }
    assert.ok(performance.now() - started < 3000);
    assert.ok(ids(floorOf([`${'x/'.repeat(2048)}a.md`])).includes('unknown'));
  });

  it('a list that was cut, or without line counts, is unknown', () => {
    assert.deepEqual(ids(floorOf(['README.md'], { truncated: true })), ['base.code', 'unknown']);
    const uncounted = { path: 'src/a.ts', added: null, deleted: null };
    assert.deepEqual(ids(floorOf([uncounted])), ['base.code', 'unknown']);
    assert.deepEqual(ids(floorOf([{ ...uncounted, added: Number.NaN, deleted: -1 }])), ['base.code', 'unknown']);
    assert.deepEqual(ids(floorOf([{ ...uncounted, path: 'lib/x.jar' }])), ['base.code', 'opaque']);
    assert.deepEqual(ids(floorOf([{ ...uncounted, path: 'docs/x.png' }])), ['base.docs']);
  });
});

describe('destructive migrations', () => {
  it('by path', () => {
    for (const name of ['drop_users.sql', 'DropUsers.cs', '7-rename-column.rb', 'V3__truncate_log.sql', 'remove_x.py'])
      assert.ok(ids(floorOf([`db/migrations/${name}`])).includes('migration.destructive'), name);
    for (const name of ['add_dropdown.sql', '7.sql', 'raindrops.sql'])
      assert.ok(!ids(floorOf([`db/migrations/${name}`])).includes('migration.destructive'), name);
  });

  it('by message, of a migration only', () => {
    const message = 'Remove the unused column "email"';
    assert.ok(ids(floorOf(['db/migrations/7.sql'], { message })).includes('migration.destructive'));
    assert.ok(!ids(floorOf(['src/drop.ts'], { message })).includes('migration.destructive'));
    assert.ok(!ids(floorOf(['db/migrations/7.sql'], { message: null })).includes('migration.destructive'));
  });
});

describe('what surrounds a change', () => {
  it('tier, time, rollback, and what was reverted before', () => {
    const score = (change: Partial<RiskInput>): number => floorOf(['src/a.ts'], change).score;
    assert.equal(score({ tier: 0 }), 0.278);
    assert.equal(score({ tier: 1 }), 0.218);
    assert.equal(score({ recentRollbackDays: 7 }), 0.32);
    assert.equal(score({ recentRollbackDays: 7.1 }), 0.235);
    assert.equal(score({ recentRollbackDays: 31 }), 0.15);
    for (const [localWeekday, localHour] of [
      [5, 15],
      [6, 12],
      [0, 12],
      [2, 22],
      [2, 5],
    ] as const)
      assert.equal(score({ localWeekday, localHour }), 0.218, `${localWeekday} ${localHour}`);
    for (const [localWeekday, localHour] of [
      [5, 14],
      [1, 6],
      [4, 21],
    ] as const)
      assert.equal(score({ localWeekday, localHour }), 0.15, `${localWeekday} ${localHour}`);
    assert.equal(score({ message: 'Revert "Revert "x""' }), 0.235);
    assert.equal(score({ message: 'Reapply "x"' }), 0.235);
    assert.equal(score({ message: 'Revert "x"' }), 0.15);
  });

  it('variables that the release sets are configuration, whatever files changed', () => {
    const set = { settings: ['LOG_LEVEL', 'FLAGS'] };
    assert.deepEqual(short(floorOf(['README.md'], set)), short(floorOf(['config/prod.yaml'])));
    assert.deepEqual(ids(floorOf(['README.md'], set)), ['base.code', 'config']);
    assert.ok(ids(floorOf(['test/a.test.ts'], { ...set, tier: 0 })).includes('tier'));
    const reason = (files: readonly string[]): string | undefined =>
      floorOf(files, set).factors.find(({ id }) => id === 'config')?.reason;
    assert.equal(reason(['README.md']), 'the release sets FLAGS and 1 more');
    assert.equal(
      reason(['config/prod.yaml']),
      'config/prod.yaml is configuration or a flag; the release sets FLAGS and 1 more',
    );
    assert.equal(floorOf(['config/prod.yaml'], set).score, floorOf(['config/prod.yaml']).score);
  });

  it('does not touch documentation, whatever its size', () => {
    const files = Array.from({ length: 40 }, (_, index) => file(`d${index}/x.md`, 100));
    const change = { tier: 0, recentRollbackDays: 1, localWeekday: 6, message: 'Reapply "x"' };
    assert.deepEqual(short(floorOf(files, change)), [0.02, 'direct', false]);
  });

  it('spread counts files and top directories', () => {
    assert.ok(!ids(floorOf(many(5, 1))).includes('spread'));
    const wide = floorOf(['a/x.ts', 'b/x.ts', 'c/x.ts', 'd/x.ts']);
    assert.equal(wide.factors.find(({ id }) => id === 'spread')?.weight, 0.18);
  });

  it('sign-in and payments need a person in the most critical tiers', () => {
    assert.deepEqual(
      [0, 1, 2, 3].map((tier) => floorOf(['src/payment.ts'], { tier }).approval),
      [true, true, false, false],
    );
  });
});

describe('reasons', () => {
  const reasonOf = (files: readonly string[], id: string): string | undefined =>
    floorOf(files).factors.find((factor) => factor.id === id)?.reason;

  it('name the files', () => {
    assert.equal(reasonOf(['db/migrations/7.sql'], 'migration'), 'db/migrations/7.sql is a migration');
    assert.equal(reasonOf(['b.sql', 'c.sql', 'a.sql', 'd.sql'], 'migration'), 'a.sql and 3 more are migrations');
  });

  it('show nothing that does not print, and cut long paths', () => {
    const reason = reasonOf([`${'x/'.repeat(200)}\u001b[31m\u202E.sql`], 'migration') ?? '';
    assert.ok(reason.length < 150);
    assert.doesNotMatch(reason, /[\p{Cc}\p{Cf}]/u);
  });
});

const path = fc.oneof(
  fc.constantFrom(
    'README.md',
    'src/a.ts',
    'db/migrations/1.sql',
    'db/migrations/drop.sql',
    'test/a.test.ts',
    'package.json',
    'package-lock.json',
    'infra/a.tf',
    'src/auth.ts',
    'lib/a.jar',
    '../x',
    'config/a.yaml',
    'prompts/a.md',
    'раyments.ts',
    'a/b.ts',
    'c/d.ts',
    'e/f.ts',
    'g/h.ts',
  ),
  fc.string({ unit: 'binary', maxLength: 12 }),
);
const lines = fc.option(fc.nat(1500), { freq: 8 });
const changedFile: fc.Arbitrary<ChangedFile> = fc
  .record({ path, oldPath: fc.option(path, { nil: undefined }), added: lines, deleted: lines })
  .map(({ oldPath, ...rest }) => (oldPath === undefined ? rest : { ...rest, oldPath }));
const files = fc.array(changedFile, { minLength: 1, maxLength: 30 });
const around = fc.record({
  tier: fc.constantFrom(2, 3),
  message: fc.option(fc.constantFrom('x', 'drop table', 'Reapply "x"')),
  localHour: fc.constantFrom(9, 12),
});

function atLeast(more: Risk, less: Risk): void {
  const text = JSON.stringify([less, more]);
  assert.ok(more.score >= less.score, text);
  assert.ok(STRATEGIES.indexOf(more.strategy) >= STRATEGIES.indexOf(less.strategy), text);
  assert.ok(more.approval || !less.approval, text);
}

describe('properties', () => {
  it('one more file never lowers', () => {
    fc.assert(
      fc.property(files, changedFile, around, (list, extra, change) => {
        atLeast(floorOf([...list, extra], change), floorOf(list, change));
      }),
      { numRuns: 1000 },
    );
  });

  it('nothing that surrounds a change lowers', () => {
    const worse: fc.Arbitrary<Partial<RiskInput>> = fc.constantFrom(
      { tier: 0 },
      { tier: 1 },
      { truncated: true },
      { recentRollbackDays: 3 },
      { recentRollbackDays: 20 },
      { localHour: 23 },
      { localWeekday: 6 },
      { settings: ['X'] },
      { files: null },
    );
    fc.assert(
      fc.property(files, around, worse, (list, change, extra) => {
        if (extra.files === null) return;
        atLeast(floorOf(list, { ...change, ...extra }), floorOf(list, change));
      }),
    );
  });

  it('the order of files does not matter, nor does a second look', () => {
    fc.assert(
      fc.property(files, around, (list, change) => {
        const risk = floorOf(list, change);
        assert.deepEqual(floorOf(list.toReversed(), change), risk);
        assert.ok(risk.score >= 0.02 && risk.score <= 1);
        assert.equal(new Set(ids(risk)).size, risk.factors.length);
      }),
    );
  });

  it('a model never lowers, whatever it says', () => {
    const opinion: fc.Arbitrary<ModelOpinion> = fc.oneof(
      fc.constant({ kind: 'off' } as const),
      fc.constant({ kind: 'failed', reason: 'timeout' } as const),
      fc.record({
        kind: fc.constant('answered' as const),
        model: fc.string(),
        score: fc.oneof(fc.double(), fc.double({ min: 0, max: 1, noNaN: true })),
        strategy: fc.oneof(fc.constantFrom(...STRATEGIES), fc.string() as fc.Arbitrary<Strategy>),
        approval: fc.boolean(),
        factors: fc.array(fc.record({ name: fc.string(), reason: fc.string() })),
        summary: fc.string(),
      }),
    );
    fc.assert(
      fc.property(files, opinion, (list, said) => {
        const floor = floorOf(list);
        const risk = combineRisk(floor, said, policy);
        atLeast(risk, floor);
        assert.ok(risk.score <= 1 && STRATEGIES.includes(risk.strategy));
        assert.equal(risk.level, levelOf(risk.score));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('combining with a model', () => {
  const floor = floorOf(['src/a.ts']);
  const answer = {
    kind: 'answered',
    model: 'm',
    score: 0.4,
    strategy: 'direct',
    approval: false,
    factors: [{ name: 'Hot Path!', reason: 'the request path' }],
    summary: 's',
  } as const;

  it('takes the higher score, and the strategy of that score', () => {
    const risk = combineRisk(floor, answer, policy);
    assert.deepEqual(short(risk), [0.4, 'canary_10', false]);
    assert.equal(risk.level, 'medium');
    assert.deepEqual(risk.factors.at(-1), { id: 'model.hot-path', weight: 0, reason: 'the request path' });
  });

  it('takes its strategy and its wish for a person', () => {
    const careful = { ...answer, score: 0, strategy: 'canary_5', approval: true } as const;
    assert.deepEqual(short(combineRisk(floor, careful, policy)), [0.15, 'canary_5', true]);
    assert.equal(combineRisk(floor, { ...answer, score: 0.55 }, policy).approval, true);
  });

  it('off: the floor; failed, or nonsense: the floor and a person', () => {
    assert.deepEqual(combineRisk(floor, { kind: 'off' }, policy), floor);
    const approved = { ...floor, approval: true };
    assert.deepEqual(combineRisk(floor, { kind: 'failed', reason: 'no key' }, policy), approved);
    for (const score of [Number.NaN, -0.1, 1.1, Number.POSITIVE_INFINITY])
      assert.deepEqual(combineRisk(floor, { ...answer, score }, policy), approved);
    assert.deepEqual(combineRisk(floor, { ...answer, strategy: 'yolo' as Strategy }, policy), approved);
  });
});

it('files are put in order of what they are', () => {
  const weights = ['README.md', 'src/a.ts', 'package.json', 'a.sql', '../x'].map((name) => weightOf(file(name)));
  assert.deepEqual(weights, [0, 0, 0.15, 0.3, 0.5]);
});
