import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { defaultAnalysis } from '../../domain/canary/defaults.js';
import { DEFAULT_RISK_POLICY } from '../../domain/risk-floor.js';
import type { Policy } from '../../domain/policy.js';
import type { LocalTarget } from '../../domain/target.js';
import { formatProblems, parseSlipwayYaml, policyFor } from '../../formats/slipway-yaml.js';
import type { Problem, SlipwayConfig } from '../../formats/slipway-yaml.js';

const HEAD = `service: hello
environments:
  local:
    platform: local
    run: { command: [node, server.mjs] }
`;

function configOf(text: string): SlipwayConfig {
  const parsed = parseSlipwayYaml(text, 'slipway.yaml');
  assert.ok(parsed.ok, parsed.ok ? '' : formatProblems(parsed.problems, 'slipway.yaml', text));
  return parsed.config;
}

function policyOf(text: string, environment = 'local', baseDir?: string): Policy & { readonly target: LocalTarget } {
  const found = policyFor(configOf(text), environment, baseDir);
  assert.ok(found.ok);
  const { policy } = found;
  assert.ok(policy.target.platform === 'local');
  return { ...policy, target: policy.target };
}

function problemsOf(text: string): readonly Problem[] {
  const parsed = parseSlipwayYaml(text, 'slipway.yaml');
  assert.ok(!parsed.ok, 'the file should not be valid');
  return parsed.problems;
}

function warningsOf(text: string): readonly string[] {
  const parsed = parseSlipwayYaml(text, 'slipway.yaml');
  assert.ok(parsed.ok, parsed.ok ? '' : formatProblems(parsed.problems, 'slipway.yaml', text));
  return parsed.warnings.map(({ path }) => path);
}

/** Asserts the one problem of a file: its place, and words of its message and remedy. */
function assertProblem(text: string, place: string, message: RegExp, remedy: RegExp): void {
  const problems = problemsOf(text);
  assert.equal(problems.length, 1, formatProblems(problems, 'slipway.yaml', text));
  const [problem] = problems;
  assert.ok(problem);
  assert.equal(`${problem.line}:${problem.column}`, place, formatProblems(problems, 'slipway.yaml', text));
  assert.match(problem.message, message);
  assert.match(problem.remedy, remedy);
}

describe('the policy of a file', () => {
  test('the smallest file gets every default', () => {
    assert.deepEqual(policyOf(HEAD, 'local', '/srv/hello'), {
      lane: { environment: 'local', service: 'hello' },
      target: {
        platform: 'local',
        gateway: 'http://127.0.0.1:7700',
        run: { command: ['node', 'server.mjs'], cwd: '/srv/hello', env: {}, healthPath: '/healthz', replicas: 1 },
      },
      tier: 2,
      owner: null,
      whenBusy: 'queue',
      onAlert: 'rollback',
      resolveTags: 'best-effort',
      strategy: 'auto',
      stages: {
        direct: [],
        canary_25: [25, 50].map(stage),
        canary_10: [10, 25, 50].map(stage),
        canary_5: [5, 25, 50].map(stage),
      },
      compareWith: 'baseline',
      promote: 'verified',
      verifyMs: 300_000,
      approval: {
        required: 'risk',
        quorum: 1,
        groups: [],
        excludeAuthor: true,
        allowUnverified: true,
        rules: [],
        reminders: [0.5, 0.8],
        escalate: null,
        validForMs: null,
        breakGlass: { allowed: true, ticket: false },
        byRisk: {},
      },
      analysis: defaultAnalysis(15_000),
      metrics: { source: 'gateway' },
      waits: {
        approvalMs: 72 * 3_600_000,
        evidenceMs: 24 * 3_600_000,
        queueMs: 24 * 3_600_000,
        blindMs: 3_600_000,
        heldMs: 24 * 3_600_000,
        progressMs: 600_000,
      },
      risk: DEFAULT_RISK_POLICY,
      notify: [],
    } satisfies Policy);
  });

  test('images default to one container with the name of the service', () => {
    const found = policyFor(configOf(HEAD), 'local');
    assert.ok(found.ok);
    assert.deepEqual(found.images, { app: 'hello' });
  });

  test('every key arrives in the policy, in its unit', () => {
    const text = `service: shop
owner: team-shop
tier: 1
images: { app: localhost:5000/shop/web, proxy: envoy }
environments:
  prod:
    platform: local
    gateway: https://gateway.example.com:7700//
    run: { command: [a, b], cwd: ../x/./y, env: { A: b }, health: /up, replicas: 7 }
    strategy: canary_10
    stages: [{ weight: 1.5%, for: 90s }, { weight: 50, for: 1h30m, approval: true }]
    compareWith: stable
    promote: in-place
    verify: 1m
    whenBusy: supersede
    resolveTags: required
    approval:
      required: always
      rules: [{ group: ops, count: 2 }, { group: security }]
      byRisk: { high: { quorum: 4, groups: [leads] }, critical: { rules: [{ group: board, count: 5 }] } }
      excludeAuthor: true
      allowUnverified: false
      reminders: [25%, 0.75]
      escalate: { after: 2h, groups: [oncall] }
      onSilence: reject
      validFor: 12h
      breakGlass: { allowed: false, ticket: true }
    analysis:
      judge: mann-whitney
      scrapeInterval: 200ms
      warmUp: 1s
      lookEvery: 2s
      errorBudget: 0.02
      minErrorIncrease: 0.7%
      minErrorRatio: 1.5
      minLatencyRatio: 1.25
      errorMargin: 1%
      latencyMargin: 1.3
      minRequests: 10
      noiseFloor: { pairs: 23, p99: 6%, errorRate: 20% }
      limits: { maxErrorRate: 5%, maxP99: 500ms, catastrophicErrorRate: 40%, minRequests: 5, window: 3s }
      mannWhitney: { window: 10m, checkEvery: 2m, checks: 4, rollbackP: 0.01, promoteP: 0.4, maxErrorIncrease: 3%, maxLatencyRatio: 1.2, minSuccessRate: 99.9% }
    metrics:
      prometheus: http://prometheus:9090/
      queries: { requests: r, errors: e, latencyBuckets: b }
      authorization: PROMETHEUS_TOKEN
    waits: { queue: 1h, evidence: 2h, approval: 3h, blind: 4m, held: 5h, progress: 6s }
    risk: { model: on, approvalFrom: 0.5, canary25From: 0.1, canary10From: 0.2, canary5From: 0.3, timeZone: Europe/Berlin }
    notify: [channel]
    slack: { channel: C0123456789 }
`;
    const found = policyFor(configOf(text), 'prod', '/srv/shop/');
    assert.ok(found.ok);
    assert.deepEqual(found.images, { app: 'localhost:5000/shop/web', proxy: 'envoy' });
    const stages = [
      { weightPercent: 1.5, durationMs: 90_000, approval: false },
      { weightPercent: 50, durationMs: 5_400_000, approval: true },
    ];
    assert.deepEqual(found.policy, {
      lane: { environment: 'prod', service: 'shop' },
      target: {
        platform: 'local',
        gateway: 'https://gateway.example.com:7700',
        run: { command: ['a', 'b'], cwd: '/srv/x/y', env: { A: 'b' }, healthPath: '/up', replicas: 7 },
      },
      tier: 1,
      owner: 'team-shop',
      whenBusy: 'supersede',
      onAlert: 'rollback',
      resolveTags: 'required',
      strategy: 'canary_10',
      stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages },
      compareWith: 'stable',
      promote: 'in-place',
      verifyMs: 60_000,
      approval: {
        required: 'always',
        quorum: 1,
        groups: [],
        excludeAuthor: true,
        allowUnverified: false,
        rules: [
          { group: 'ops', count: 2 },
          { group: 'security', count: 1 },
        ],
        reminders: [0.25, 0.75],
        escalate: { afterMs: 7_200_000, groups: ['oncall'] },
        validForMs: 43_200_000,
        breakGlass: { allowed: false, ticket: true },
        byRisk: { high: { quorum: 4, groups: ['leads'] }, critical: { rules: [{ group: 'board', count: 5 }] } },
      },
      analysis: {
        judge: 'mann-whitney',
        scrapeIntervalMs: 200,
        warmUpMs: 1000,
        lookEveryMs: 2000,
        errorBudget: 0.02,
        minErrorIncrease: 0.007,
        minErrorRatio: 1.5,
        minLatencyRatio: 1.25,
        errorMargin: 0.01,
        latencyMargin: 1.3,
        minRequests: 10,
        noiseFloor: { pairs: 23, latencyLogSd: 0.06, errorLogSd: 0.2 },
        limits: { maxErrorRate: 0.05, maxP99Seconds: 0.5, catastrophicErrorRate: 0.4, minRequests: 5, windowMs: 3000 },
        metrics: [],
        threshold: defaultAnalysis().threshold,
        kayenta: defaultAnalysis().kayenta,
        mannWhitney: {
          windowMs: 600_000,
          checkEveryMs: 120_000,
          checks: 4,
          rollbackP: 0.01,
          promoteP: 0.4,
          maxErrorIncrease: 0.03,
          maxLatencyRatio: 1.2,
          minSuccessRate: 0.999,
        },
      },
      metrics: {
        source: 'prometheus',
        url: 'http://prometheus:9090',
        queries: { requests: 'r', errors: 'e', latencyBuckets: 'b' },
        authorization: 'PROMETHEUS_TOKEN',
      },
      waits: {
        queueMs: 3_600_000,
        evidenceMs: 7_200_000,
        approvalMs: 10_800_000,
        blindMs: 240_000,
        heldMs: 18_000_000,
        progressMs: 6000,
      },
      risk: {
        model: 'on',
        approvalFrom: 0.5,
        canary25From: 0.1,
        canary10From: 0.2,
        canary5From: 0.3,
        timeZone: 'Europe/Berlin',
      },
      notify: ['channel'],
      slack: { channel: 'C0123456789' },
    } satisfies Policy);
  });

  test('the times of the analysis scale with the scrape interval', () => {
    assert.deepEqual(policyOf(`${HEAD}    analysis: { scrapeInterval: 1s }\n`).analysis, defaultAnalysis(1000));
  });

  test('defaults are merged: mappings key by key, lists and values replaced', () => {
    const text = `service: hello
defaults:
  platform: local
  run: { command: [a], env: { A: '1', B: '2' }, replicas: 3 }
  approval: { groups: [x, y], quorum: 2 }
  analysis: { limits: { maxErrorRate: 5%, maxP99: 1s } }
  metrics: { prometheus: 'http://p:9090', queries: traefik }
  stages: [{ weight: 10% }]
environments:
  one:
    run: { env: { B: '3' }, replicas: 5 }
    approval: { groups: [z] }
    analysis: { limits: { maxErrorRate: off } }
    metrics: { queries: { requests: r, errors: e }, prometheus: 'http://q:9090' }
    stages: { canary_5: [{ weight: 2% }] }
  two: { metrics: gateway }
`;
    const one = policyOf(text, 'one');
    assert.deepEqual(one.target.run, {
      command: ['a'],
      cwd: '.',
      env: { A: '1', B: '3' },
      healthPath: '/healthz',
      replicas: 5,
    });
    assert.deepEqual([one.approval.groups, one.approval.quorum], [['z'], 2]);
    assert.deepEqual([one.analysis.limits.maxErrorRate, one.analysis.limits.maxP99Seconds], [null, 1]);
    assert.deepEqual(one.metrics.source === 'prometheus' && one.metrics.queries, {
      requests: 'r',
      errors: 'e',
      latencyBuckets: null,
    });
    assert.deepEqual(
      one.stages.canary_5.map(({ weightPercent }) => weightPercent),
      [2],
    );
    assert.deepEqual(
      one.stages.canary_10.map(({ weightPercent }) => weightPercent),
      [10, 25, 50],
    );
    const two = policyOf(text, 'two');
    assert.deepEqual(two.metrics, { source: 'gateway' });
    assert.deepEqual(
      two.stages.canary_5.map(({ weightPercent }) => weightPercent),
      [10],
    );
  });

  test('equal shares have equal bytes, however they are written', () => {
    for (const [percentage, share] of [
      ['0.2%', '0.002'],
      ['0.7%', '0.007'],
      ['5%', '0.05'],
      ['29%', '0.29'],
    ] as const) {
      const read = (text: string) => policyOf(`${HEAD}    analysis: { errorMargin: ${text} }\n`).analysis.errorMargin;
      assert.equal(read(percentage), Number(share));
      assert.equal(read(share), Number(share));
    }
  });

  test('unverified decisions count by default on this machine only', () => {
    const allowed = (gateway: string) => policyOf(`${HEAD}    gateway: ${gateway}\n`).approval.allowUnverified;
    assert.equal(allowed('http://localhost:7700'), true);
    assert.equal(allowed('http://[::1]:7700'), true);
    assert.equal(allowed('http://10.0.0.7:7700'), false);
    assert.equal(allowed('http://127.0.0.1.example.com'), false);
  });

  test('an environment on Kubernetes needs a namespace and a Prometheus, and names the rest after the service', () => {
    const kubernetes = (more: string): string => `service: hello
environments:
  prod:
    platform: kubernetes
${more}`;
    const metrics = "    metrics: { prometheus: 'http://p:9090', queries: traefik }\n";
    const found = policyFor(configOf(kubernetes(`${metrics}    kubernetes: { namespace: shop }\n`)), 'prod');
    assert.ok(found.ok);
    assert.deepEqual(found.policy.target, {
      platform: 'kubernetes',
      context: null,
      namespace: 'shop',
      deployment: 'hello',
      service: 'hello',
      route: { kind: 'HTTPRoute', name: 'hello' },
    });
    assert.equal(found.policy.approval.allowUnverified, false);
    const named = 'context: eu, namespace: shop, deployment: d, service: s, route: { kind: GRPCRoute, name: r }';
    const other = policyFor(configOf(kubernetes(`${metrics}    kubernetes: { ${named} }\n`)), 'prod');
    assert.deepEqual(other.ok && other.policy.target, {
      platform: 'kubernetes',
      context: 'eu',
      namespace: 'shop',
      deployment: 'd',
      service: 's',
      route: { kind: 'GRPCRoute', name: 'r' },
    });

    assert.deepEqual(
      problemsOf(kubernetes('')).map(({ path }) => path),
      ['environments.prod.kubernetes.namespace', 'environments.prod.metrics.prometheus'],
    );
    const [gateway] = problemsOf(
      `service: hello\ndefaults: { metrics: { prometheus: 'http://p:9090' } }\nenvironments:\n  prod: { platform: kubernetes, metrics: gateway, kubernetes: { namespace: shop } }\n`,
    );
    assert.match(gateway?.message ?? '', /environments\.prod\.metrics: gateway is the local gateway's/);
    const routeOf = (route: string): unknown => {
      const read = policyFor(configOf(kubernetes(`${metrics}    kubernetes: { namespace: shop, ${route} }\n`)), 'prod');
      assert.ok(read.ok);
      const { target, compareWith } = read.policy;
      return [target.platform === 'kubernetes' ? target.route : null, compareWith];
    };
    assert.deepEqual(routeOf('route: { kind: VirtualService, name: edge, multiRoute: allow, drain: 20s }'), [
      { kind: 'VirtualService', name: 'edge', multiRoute: 'allow', drainMs: 20_000 },
      'baseline',
    ]);
    const [long] = problemsOf(
      kubernetes(`${metrics}    kubernetes: { namespace: shop, route: { kind: HTTPRoute, drain: 10m } }\n`),
    );
    assert.match(long?.message ?? '', /route\.drain: 10m is too long/);
    assert.match(long?.remedy ?? '', /write a duration from 1s to 8m/);
    // Where there can be no baseline, none is asked for.
    assert.deepEqual(routeOf('route: { kind: Ingress }'), [{ kind: 'Ingress', name: 'hello' }, 'stable']);
    assert.deepEqual(routeOf('route: none'), [{ kind: 'none', maxExcessPoints: 5 }, 'stable']);
    assert.deepEqual(routeOf('route: none, maxExcessPoints: 20'), [{ kind: 'none', maxExcessPoints: 20 }, 'stable']);
    const [name] = problemsOf(kubernetes(`${metrics}    kubernetes: { namespace: Not_A_Name }\n`));
    assert.match(name?.message ?? '', /is no name of a Kubernetes object/);
  });

  test('run.cwd begins at the folder of the file', () => {
    const cwd = (written: string, baseDir?: string) =>
      policyOf(HEAD.replace('[node, server.mjs]', `[a], cwd: ${written}`), 'local', baseDir).target.run.cwd;
    assert.equal(cwd('sub/dir', '/srv/hello'), '/srv/hello/sub/dir');
    assert.equal(cwd('../../../..', '/srv/hello'), '/');
    assert.equal(cwd('/abs//x/', '/srv/hello'), '/abs/x');
    assert.equal(cwd('sub'), 'sub');
  });

  test('an unknown environment gets the known ones, and the nearest', () => {
    const config = configOf(HEAD);
    for (const [name, remedy] of [
      ['lokal', /did you mean local\?/],
      ['constructor', /choose one of: local/],
      ['', /local/],
    ] as const) {
      const found = policyFor(config, name);
      assert.ok(!found.ok);
      assert.match(found.problems[0]?.message ?? '', /no environment .* service hello/);
      assert.match(found.problems[0]?.remedy ?? '', remedy);
      assert.match(formatProblems(found.problems, 'slipway.yaml', HEAD), /^slipway\.yaml: there is no/);
    }
  });

  test('the demo’s file is valid, without warnings', async () => {
    const text = await readFile('demo/slipway.yaml', 'utf8');
    assert.deepEqual(warningsOf(text), []);
  });
});

function stage(weightPercent: number) {
  return { weightPercent, durationMs: 900_000, approval: false };
}

const PROMETHEUS = 'metrics: { prometheus: http://p:9090 }';

/** An environment with one further metric. */
function further(metric: string): string {
  return `${PROMETHEUS}\n    analysis: { metrics: [{ ${metric} }] }`;
}

describe('further metrics and further judges', () => {
  test('are read from the environment', () => {
    const lines = `${PROMETHEUS}
    analysis:
      judge: kayenta
      metrics:
        - { name: Queue depth, query: 'avg(depth{arm="{{arm}}"})', direction: either, critical: false, weight: 2, tolerance: { difference: 5 }, max: 40 }
        - { name: heap, query: avg(heap) }
      threshold: { counting: argo, initialDelay: 2m, interval: 30s, window: 2m, failureLimit: 3, consecutiveErrorLimit: 2, count: 10, minSuccessRate: 99.5%, maxP99: "off" }
      kayenta:
        { confidenceLevel: 0.95, tolerance: 0.1, delay: 1m, interval: 10m, step: 1m, lookback: 20m, pass: 90, marginal: 50, groupWeights: { a: 60 }, metrics: [{ name: heap, groups: [a], critical: true, mustHaveData: true, nanStrategy: replace, direction: increase, weight: 3, outliers: { strategy: remove }, effect: { measure: cles, allowedIncrease: 0.7 } }] }`;
    const found = policyFor(configOf(`${HEAD}    ${lines}\n`), 'local', '/srv');
    assert.ok(found.ok);
    const { analysis, metrics } = found.policy;
    const none = { min: null, max: null };
    assert.deepEqual(analysis.metrics, [
      {
        name: 'Queue depth',
        direction: 'either',
        critical: false,
        weight: 2,
        tolerance: { kind: 'difference', difference: 5 },
        min: null,
        max: 40,
      },
      {
        name: 'heap',
        direction: 'increase',
        critical: true,
        weight: 1,
        tolerance: { kind: 'ratio', ratio: 1.2 },
        ...none,
      },
    ]);
    assert.ok(metrics.source === 'prometheus');
    assert.deepEqual(metrics.values, { 'Queue depth': 'avg(depth{arm="{{arm}}"})', heap: 'avg(heap)' });
    assert.deepEqual(analysis.threshold, {
      counting: 'argo',
      initialDelayMs: 120_000,
      intervalMs: 30_000,
      windowMs: 120_000,
      failureLimit: 3,
      consecutiveErrorLimit: 2,
      count: 10,
      minSuccessRate: 0.995,
      maxP99Seconds: null,
    });
    assert.deepEqual(analysis.kayenta, {
      confidenceLevel: 0.95,
      tolerance: 0.1,
      delayMs: 60_000,
      intervalMs: 600_000,
      stepMs: 60_000,
      lookbackMs: 1_200_000,
      passScore: 90,
      marginalScore: 50,
      groupWeights: { a: 60 },
      metrics: [
        {
          name: 'heap',
          groups: ['a'],
          weight: 3,
          direction: 'increase',
          critical: true,
          mustHaveData: true,
          nanStrategy: 'replace',
          outliers: { strategy: 'remove', factor: 3 },
          effect: {
            measure: 'cles',
            allowedIncrease: 0.7,
            allowedDecrease: 0.5,
            criticalIncrease: 0.5,
            criticalDecrease: 0.5,
          },
        },
      ],
    });
  });
});

describe('problems', () => {
  test('one key: place, message and remedy', () => {
    const cases: readonly (readonly [lines: string, place: string, message: RegExp, remedy: RegExp])[] = [
      ['verify: 300', '6:13', /environments\.local\.verify: 300 has no unit/, /write 300s/],
      ['verify: 5 minutes', '6:13', /"5 minutes" is no duration/, /90s, 15m, 1h30m/],
      ['verify: 30m1h', '6:13', /no duration/, /largest unit first/],
      ['verify: 400d', '6:13', /400d is too long/, /366d/],
      ['verify: [5m]', '6:13', /a list is no duration/, /number and a unit/],
      ['verify:', '6:5', /verify: has no value/, /remove the line/],
      ['waits: { blind: 0s }', '6:21', /0s is too short/, /from 1ms/],
      ['when_busy: queue', '6:5', /when_busy: is not a known key/, /did you mean whenBusy\?/],
      ['quorum: 2', '6:5', /quorum: is not a known key/, /belongs under approval/],
      ['colour: red', '6:5', /not a known key/, /known keys here: platform, gateway/],
      ['approval: { qourum: 2 }', '6:17', /approval\.qourum/, /did you mean quorum/],
      ['approval: { required: allways }', '6:27', /"allways" is not known/, /did you mean always\?/],
      ['approval: { quorum: 0 }', '6:25', /0 is not accepted/, /whole number from 1 to 20/],
      ['approval: { onSilence: approve }', '6:28', /"approve" is not accepted/, /silence never approves/],
      ['approval: { escalate: { after: 1h } }', '6:17', /approval\.escalate\.groups/, /./],
      ['approval: { reminders: [120%] }', '6:29', /"120%" is no share/, /from 0% to 100%/],
      ['approval: { byRisk: { hig: { quorum: 2 } } }', '6:27', /hig/, /did you mean high/],
      [
        'approval: { rules: [{ group: a }], quorum: 2 }',
        '6:17',
        /short form of one rule, and there are rules too/,
        /write either/,
      ],
      ['approval: { rules: [{ group: a }, { group: a }] }', '6:41', /another rule for the group a/, /sum of both/],
      ['approval: { groups: [a], escalate: { after: 4d, groups: [b] } }', '6:42', /waits for 3 days/, /earlier/],
      ['approval: { excludeAuthor: "yes" }', '6:32', /"yes" is not true or false/, /without quotes/],
      ['strategy: canary5', '6:15', /"canary5" is not known/, /did you mean canary_5/],
      ['stages: []', '6:13', /the list is empty/, /strategy: direct/],
      ['stages: 10%', '6:13', /"10%" is not a list/, /\[10%\]/],
      ['stages: [{ weight: 50% }, { weight: 10% }]', '6:41', /stages\[1\]\.weight: 10% is not above the 50%/, /rise/],
      ['stages: [{ weight: 10% }, { weight: 10% }]', '6:41', /not above/, /rise/],
      ['stages: [{ weight: 100% }]', '6:24', /"100%" is no weight/, /up to 99%/],
      ['stages: [{ weight: 0% }]', '6:24', /no weight/, /above 0%/],
      ['stages: [{ weight: -5 }]', '6:24', /-5 is no weight/, /above 0%/],
      ['stages: [{ weight: 0.1 }]', '6:24', /two ways/, /0\.1% .* 10%/],
      ['stages: [{ weight: .nan }]', '6:24', /no weight/, /percentage/],
      ['stages: [{ for: 5m }]', '6:14', /stages\[0\]\.weight: is missing/, /weight: 10%/],
      ['stages: { canary_10: [] }', '6:26', /canary_10: the list is empty/, /at least one/],
      ['stages: { direct: [{ weight: 1% }] }', '6:15', /stages\.direct: is not a known key/, /canary_5/],
      ['analysis: { errorBudget: 5 }', '6:30', /5 is no share/, /write 5%/],
      ['analysis: { errorBudget: 101% }', '6:30', /"101%" is no share/, /100%/],
      ['analysis: { minErrorRatio: 0.5 }', '6:32', /0\.5 is no ratio/, /above 1/],
      ['analysis: { limits: { maxP99: 500 } }', '6:35', /500 has no unit/, /500s/],
      ['analysis: { lookEvery: 1s }', '6:17', /1s is shorter than the scrape interval of 15s/, /15s or more/],
      ['analysis: { mannWhitney: { rollbackP: 0.3 } }', '6:32', /not below promoteP/, /below/],
      ['analysis: { metrics: [{ name: a, query: q }] }', '6:17', /metrics come from the local gateway/, /prometheus/],
      [`${PROMETHEUS}\n    analysis: { metrics: [{ name: a }] }`, '7:27', /\[0\]\.query: is missing/, /add it/],
      [further('name: error-rate, query: q'), '7:29', /there is another metric error-rate/, /another name/],
      [further('name: a, query: q, tolerance: {}'), '7:59', /one of ratio and difference/, /\{ ratio: 1\.2 \}/],
      [further('name: a, query: q, tolerance: { ratio: 1 }'), '7:68', /1 is no ratio/, /above 1/],
      [further('name: a, query: q, min: 2, max: 1'), '7:48', /2 is above max, 1/, /1 or less/],
      [further('name: a, query: q, direction: up'), '7:59', /"up" is not known/, /increase/],
      ['analysis: { kayenta: { metrics: [{ name: cpu }] } }', '6:40', /no metric cpu/, /error-rate, latency-p99/],
      [
        'analysis: { kayenta: { pass: 50, marginal: 60 } }',
        '6:38',
        /kayenta\.marginal: 60 is above pass, 50/,
        /50 or less/,
      ],
      ['analysis: { kayenta: { pass: 101 } }', '6:34', /101 is not accepted/, /from 0 to 100/],
      ['analysis: { kayenta: { groupWeights: { a: 60, b: 50 } } }', '6:28', /add up to 110 %/, /100/],
      ['analysis: { kayenta: { confidenceLevel: 1 } }', '6:28', /leaves no interval/, /0\.98/],
      ['analysis: { judge: threshold, threshold: { interval: 1s } }', '6:48', /shorter than the scrape/, /15s or more/],
      [
        'analysis: { judge: threshold, threshold: { minSuccessRate: "off", maxP99: "off" } }',
        '6:35',
        /the judge can never decide/,
        /write a limit/,
      ],
      ['gateway: localhost:7700', '6:14', /no http address/, /in full/],
      ['metrics: promethues', '6:14', /not known/, /write gateway/],
      [
        'metrics: { prometheus: "http://p", queries: opentelemetry-http }',
        '6:40',
        /queries: opentelemetry-http tells arms apart by their version here, and a baseline has that of stable/,
        /write compareWith: stable, or queries of your own/,
      ],
      ['metrics: { queries: traefik }', '6:5', /metrics\.prometheus: is missing/, /add it/],
      [
        'metrics: { prometheus: "http://p", queries: { requests: r } }',
        '6:40',
        /queries\.errors: is missing/,
        /add it/,
      ],
      ['slack: { channel: "#deploys" }', '6:23', /"#deploys" is no id of a channel/, /C0123456789/],
      ['notify: hook', '6:13', /"hook" is not a list/, /\[hook\]/],
      ['notify: ["https://hooks.example.com/T0/secret"]', '6:14', /the value is not a name/, /never an address/],
      ['risk: { timeZone: Berlin }', '6:23', /no time zone/, /Europe\/Berlin/],
      ['risk: { model: true }', '6:20', /true is not known/, /on, off/],
      ['risk: { canary10From: 0.01 }', '6:13', /0\.01 is below canary25From/, /rise/],
      ['? [a]\n    : 1', '6:7', /keys must be strings/, /plain text/],
    ];
    for (const [lines, place, message, remedy] of cases) assertProblem(`${HEAD}    ${lines}\n`, place, message, remedy);
  });

  test('numbers where text is wanted are shown as they were written', () => {
    const text = HEAD.replace('[node, server.mjs]', '[node, --port, 08080], env: { V: 1.10, 0X: a }');
    const said = problemsOf(text).map(({ message, remedy }) => `${message} | ${remedy}`);
    assert.match(said[0] ?? '', /command\[2\]: 8080 is not text \| put it in quotes: '08080'/);
    assert.match(said[1] ?? '', /env\.V: 1\.1 is not text \| put it in quotes: '1\.10'/);
    assert.match(said[2] ?? '', /"0X" is not accepted as a name/);
    assert.equal(said.length, 3);
  });

  test('all problems come at once, in the order of the file', () => {
    const text = `service: Hello
ownr: x
tier: 4
images: { app: hello:v2, sha: "a@sha256:00" }
defaults: { verify: 1 }
environments:
  local: { platform: nomad }
  prod: { platform: local }
  test:
`;
    const problems = problemsOf(text);
    assert.deepEqual(
      problems.map(({ line, path }) => `${line} ${path}`),
      [
        '1 service',
        '2 ownr',
        '3 tier',
        '4 images.app',
        '4 images.sha',
        '5 defaults.verify',
        '7 environments.local.run.command',
        '7 environments.local.platform',
        '8 environments.prod.run.command',
        '9 environments.test',
      ],
    );
    assert.match(problems[3]?.remedy ?? '', /write hello: /);
    assert.match(problems[4]?.remedy ?? '', /write a: /);
  });

  test('a file that is no mapping, empty, or too large', () => {
    assertProblem('', '1:1', /slipway\.yaml is empty/, /service: NAME/);
    assertProblem('# nothing\n', '1:1', /empty/, /service/);
    assertProblem('- a\n', '1:1', /the file: a list is not a mapping/, /keys and values/);
    assertProblem('hello', '1:1', /"hello" is not a mapping/, /keys and values/);
    assertProblem(`# ${'ü'.repeat(140_000)}\n${HEAD}`, '1:1', /more than 256 KB/, /right file/);
    assertProblem('service: a\nenvironments: {}\n', '2:15', /no environment/, /describe one/);
    assertProblem('service: a\n', '1:1', /environments: is missing/, /platform: local/);
  });

  test('mistakes in the YAML itself', () => {
    assertProblem(`${HEAD}service: again\n`, '6:1', /service is given twice, first in line 1/, /keep one/);
    assertProblem(`${HEAD}\tverify: 5m\n`, '6:1', /tab/, /spaces/);
    assertProblem(`${HEAD}---\n${HEAD}`, '6:1', /second document/, /one service/);
    assertProblem(`${HEAD}    owner: a: b\n`, '6:12', /nested mappings/, /quotes/);
    assertProblem(`${HEAD}    notify: [a, b\n`, '7:1', /flow sequence .* end with/, /close/);
    assertProblem(`${HEAD}    verify: *late\n`, '6:13', /no anchor &late/, /define the anchor/);
    assertProblem(`${HEAD}    <<: 3\n`, '6:9', /merge mappings only/, /<<: \*name/);
    assertProblem(`%YAML 1.1\n---\n${HEAD}`, '1:1', /%YAML 1.1/, /1\.2/);
  });

  test('a file from Windows is read, and a byte order mark', () => {
    configOf(`\uFEFF${HEAD.replaceAll('\n', '\r\n')}`);
    assertProblem(`${HEAD}    verify: 3\n`.replaceAll('\n', '\r\n'), '6:13', /no unit/, /3s/);
  });

  test('anchors, merge keys and x- keys', () => {
    const text = `x-run: &run { command: [a], replicas: 3 }
service: hello
environments:
  one: &one
    platform: local
    run: { <<: *run, replicas: 4 }
  two: { <<: *one, verify: 1m }
  three: *one
`;
    assert.deepEqual(policyOf(text, 'one').target.run.replicas, 4);
    assert.equal(policyOf(text, 'two').verifyMs, 60_000);
    assert.deepEqual(policyOf(text, 'three').target, policyOf(text, 'one').target);
    const problem = problemsOf(text.replace('replicas: 3', 'helth: /x'))[0];
    assert.deepEqual(
      [problem?.line, problem?.path],
      [1, 'environments.one.run.helth'],
      'the place is where it is written',
    );
  });

  test('files made to exhaust are refused quickly', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]', ...'bcdefghi'.split('')].map((line, index) =>
      index === 0
        ? line
        : `${line}: &${line} [${Array(9)
            .fill(`*${'abcdefghi'[index - 1]}`)
            .join(',')}]`,
    );
    const files = [
      '['.repeat(200_000),
      '{a: '.repeat(50_000),
      '- '.repeat(100_000),
      '? '.repeat(100_000),
      bomb.join('\n'),
      'a: &a {<<: {<<: *a}, b: 1}',
      `service: a\nenvironments: &e\n  a: *e\n`,
      `service: a\nenvironments:\n${Array.from({ length: 20_000 }, (_, index) => ` k${index}: 1`).join('\n')}`,
      `${HEAD}x: {${Array.from({ length: 5_000 }, (_, index) => `k${index}: 1`).join(', ')}}`,
    ];
    for (const text of files) {
      // Time of this process's own work: that of the machine's other work is none of the parser's.
      const started = process.cpuUsage();
      const problems = problemsOf(text);
      formatProblems(problems, 'slipway.yaml', text);
      const { user, system } = process.cpuUsage(started);
      assert.ok(user + system < 3_000_000, text.slice(0, 30));
    }
  });

  test('never throws, whatever the text', () => {
    const words = [
      'service',
      'environments',
      'defaults',
      'local',
      'run',
      'stages',
      '<<',
      '*a',
      '&a',
      '!!x',
      '__proto__',
    ];
    const signs = [
      '|',
      '>-',
      '"',
      "'",
      '[',
      ']',
      '{',
      '}',
      ':',
      ': ',
      '- ',
      '\n',
      '\n  ',
      '\n    ',
      ',',
      '#',
      '%',
      '?',
      '\t',
      '\0',
    ];
    const token = fc.constantFrom(...words, ...signs, '---', '...', '1', '10%', '5m', 'null', '~');
    fc.assert(
      fc.property(fc.array(token, { maxLength: 40 }), (tokens) => {
        const text = tokens.join('');
        const parsed = parseSlipwayYaml(text, 'f');
        formatProblems(parsed.ok ? parsed.warnings : parsed.problems, 'f', text);
      }),
      { numRuns: 1500 },
    );
  });

  test('problems are shown with the line and a caret', () => {
    const text = `${HEAD}    verify: 300\n`;
    assert.equal(
      formatProblems(problemsOf(text), 'a/slipway.yaml', text),
      [
        'a/slipway.yaml:6:13: environments.local.verify: 300 has no unit',
        '        verify: 300',
        '                ^',
        '  → write 300s for seconds or 300m for minutes',
      ].join('\n'),
    );
  });

  test('what is shown can’t command the terminal, and fits it', () => {
    const text = `"\\e[1m\\n": 1\nservice: "\u001b[31mred\u009b"\nowner: ${'x'.repeat(300)}\n`;
    const said = formatProblems(problemsOf(text), 'slipway.yaml', text);
    assert.doesNotMatch(said, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    for (const line of said.split('\n')) assert.ok(line.length < 250, line);
  });
});

describe('warnings', () => {
  const elsewhere = `${HEAD}    gateway: http://10.0.0.7:7700\n`;

  test('what is seldom meant is pointed out', () => {
    assert.deepEqual(warningsOf(HEAD), []);
    assert.deepEqual(warningsOf(elsewhere), []);
    const path = (key: string) => [`environments.local.${key}`];
    assert.deepEqual(
      warningsOf(`${elsewhere}    approval: { allowUnverified: true }\n`),
      path('approval.allowUnverified'),
    );
    assert.deepEqual(warningsOf(`${HEAD}    approval: { allowUnverified: true }\n`), []);
    assert.deepEqual(
      warningsOf(`${elsewhere}    approval: { excludeAuthor: false }\n`),
      path('approval.excludeAuthor'),
    );
    assert.deepEqual(warningsOf(`tier: 0\n${HEAD}    approval: { required: never }\n`), path('approval.required'));
    assert.deepEqual(
      warningsOf(`${HEAD}    approval: { quorum: 2, byRisk: { high: { quorum: 1 } } }\n`),
      path('approval.byRisk.high'),
    );
    assert.deepEqual(
      warningsOf(`${HEAD}    approval: { escalate: { after: 1h, groups: [oncall] } }\n`),
      path('approval.escalate'),
    );
    assert.deepEqual(
      warningsOf(`${HEAD}    approval: { groups: [a], byRisk: { high: { quorum: 2 } }, validFor: 12h }\n`),
      [],
    );
    assert.deepEqual(warningsOf(`tier: 0\n${HEAD}    strategy: direct\n`), path('strategy'));
    assert.deepEqual(warningsOf(`${HEAD}    verify: 0s\n`), path('verify'));
    assert.deepEqual(warningsOf(`${HEAD}    verify: 0s\n    promote: in-place\n`), []);
    assert.deepEqual(warningsOf(`${elsewhere}    stages: [{ weight: 50%, for: 2m }]\n`), path('stages'));
    assert.deepEqual(warningsOf(`${HEAD}    stages: [{ weight: 50%, for: 2m }]\n`), []);
    assert.deepEqual(
      warningsOf(`${HEAD}    stages: [{ weight: 50%, for: 119s }]\n`),
      path('stages'),
      'no look before its end',
    );
  });

  test('the noise of further metrics is read, and what is not used of it is pointed out', () => {
    const file = (noise: string) => `${HEAD}    metrics: { prometheus: http://prometheus:9090, queries: traefik }
    analysis:
      metrics: [{ name: depth, query: up }, { name: heat, query: up, tolerance: { difference: 5 } }]
      noiseFloor: { pairs: 20, p99: 5%, errorRate: 10%, metrics: ${noise} }
`;
    const both = '{ depth: { pairs: 18, ratio: 8% }, heat: { pairs: 20, difference: 1.5 } }';
    assert.deepEqual(policyOf(file(both)).analysis.noiseFloor, {
      pairs: 20,
      latencyLogSd: 0.05,
      errorLogSd: 0.1,
      metrics: {
        depth: { pairs: 18, kind: 'ratio', sd: 0.08 },
        heat: { pairs: 20, kind: 'difference', sd: 1.5 },
      },
    });
    assert.deepEqual(warningsOf(file(both)), []);
    const path = (name: string) => [`environments.local.analysis.noiseFloor.metrics.${name}`];
    assert.deepEqual(warningsOf(file('{ heat: { pairs: 18, ratio: 8% } }')), path('heat'));
    assert.deepEqual(warningsOf(file('{ dpeth: { pairs: 18, ratio: 8% } }')), path('dpeth'));
    const [none] = problemsOf(file('{ depth: { pairs: 18 } }'));
    assert.match(
      `${none?.message} ${none?.remedy}`,
      /metrics\.depth: it needs one of ratio and difference .*ratio: 5 %/,
    );
  });

  test('early promotion is the first thing to be said off, and that it changes nothing is pointed out', () => {
    const analysis = (text: string, head = HEAD) => `${head}    analysis: ${text}\n`;
    assert.equal('earlyPromotion' in policyOf(HEAD).analysis, false);
    assert.deepEqual(policyOf(analysis('{ earlyPromotion: { after: 2m } }')).analysis.earlyPromotion, {
      afterMs: 120_000,
    });
    const shared = `defaults: { analysis: { earlyPromotion: { after: 2m } } }\n${HEAD}`;
    assert.deepEqual(policyOf(shared).analysis.earlyPromotion, { afterMs: 120_000 });
    assert.equal('earlyPromotion' in policyOf(analysis('{ earlyPromotion: off }', shared)).analysis, false);
    const path = ['environments.local.analysis.earlyPromotion'];
    assert.deepEqual(warningsOf(analysis('{ earlyPromotion: { after: 2m } }')), []);
    assert.deepEqual(warningsOf(analysis('{ earlyPromotion: { after: 14m30s } }')), path);
    assert.deepEqual(warningsOf(analysis('{ earlyPromotion: { after: 2m }, judge: mann-whitney }')), path);
    assertProblem(analysis('{ earlyPromotion: {} }'), '6:17', /earlyPromotion\.after: is missing/, /add it/);
    assertProblem(analysis('{ earlyPromotion: { after: 2 } }'), '6:42', /earlyPromotion\.after: 2/, /2m|2s/);
  });

  test('a warning about a default stands where the default is written', () => {
    const text = `service: a\ndefaults:\n  verify: 0s\n${HEAD.replace('service: hello\n', '')}`;
    const parsed = parseSlipwayYaml(text, 'slipway.yaml');
    assert.ok(parsed.ok);
    assert.deepEqual(
      parsed.warnings.map(({ line, column, path }) => [line, column, path]),
      [[3, 3, 'environments.local.verify']],
    );
  });

  test('an unknown tag is a warning, with its place', () => {
    const parsed = parseSlipwayYaml(`${HEAD}    verify: !later 5m\n`, 'slipway.yaml');
    assert.ok(parsed.ok);
    assert.match(parsed.warnings[0]?.message ?? '', /unresolved tag/);
    assert.equal(parsed.warnings[0]?.line, 6);
  });
});
