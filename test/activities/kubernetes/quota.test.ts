/** Room in a namespace, as its quotas tell it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantityOf, quotaProblems } from '../../../activities/kubernetes/quota.js';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';

const TEMPLATE = {
  spec: {
    containers: [
      { name: 'app', image: 'a', resources: { requests: { cpu: '250m', memory: '256Mi' }, limits: { memory: '1Gi' } } },
      { name: 'proxy', image: 'b', resources: { limits: { cpu: '0.5' } } },
    ],
    initContainers: [{ name: 'init', image: 'c', resources: { requests: { memory: '1Gi' } } }],
  },
};

function quota(hard: object, used: object = {}, more: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'q', namespace: 'shop' },
    spec: { hard, ...more },
    status: { hard, used },
  };
}

test('quantities are read as the API writes them', () => {
  const known: readonly [string, number][] = [
    ['3', 3],
    ['250m', 0.25],
    ['1Gi', 2 ** 30],
    ['1.5G', 1.5e9],
    ['12e3', 12_000],
    ['100k', 100_000],
  ];
  for (const [text, value] of known) assert.equal(quantityOf(text), value, text);
  assert.ok(Number.isNaN(quantityOf('lots')));
});

test('what a quota has no room for is said with its arithmetic', () => {
  const problems = (...quotas: readonly KubeObject[]): readonly string[] =>
    quotaProblems({ quotas }, TEMPLATE, { replicas: 4, shares: [] }).map(({ problem }) => problem);
  assert.deepEqual(problems(quota({ pods: '10' }, { pods: '6' })), []);
  assert.deepEqual(problems(quota({ pods: '10' }, { pods: '7' })), [
    'ResourceQuota shop/q allows 10 of pods, 7 are in use, and the rollout needs 4 more at one time (4 pods)',
  ]);
  // 4 × (250m + 500m, which a limit stands for)
  assert.deepEqual(problems(quota({ 'requests.cpu': '5' }, { 'requests.cpu': '2' })), []);
  assert.match(
    problems(quota({ 'requests.cpu': '5' }, { 'requests.cpu': '2001m' })).join(),
    /needs 3 more at one time/,
  );
  // The container of the start asks for more than those that stay.
  assert.match(problems(quota({ memory: '4095Mi' })).join(), /needs 4294970000 more|needs 4.29497e\+9 more/);
  assert.deepEqual(problems(quota({ memory: '4Gi' })), []);
  assert.match(problems(quota({ 'limits.memory': '3Gi' })).join(), /limits\.memory/);
  assert.deepEqual(problems(quota({ pods: '0' }, {}, { scopes: ['BestEffort'] })), []);
  assert.deepEqual(
    problems(quota({ 'services.loadbalancers': '0', configmaps: '1' })),
    [],
    'of which it makes none, or few',
  );
});

test('objects that the rollout makes are counted under both of their names, and those that it does not make are none of its business', () => {
  const problems = (hard: object, used: object = {}): readonly string[] =>
    quotaProblems({ quotas: [quota(hard, used)], objects: { 'deployments.apps': 2, services: 0 } }, TEMPLATE, {
      replicas: 4,
      shares: [],
    }).map(({ problem }) => problem);
  assert.deepEqual(problems({ 'count/deployments.apps': '3' }, { 'count/deployments.apps': '2' }), [
    'ResourceQuota shop/q allows 3 of count/deployments.apps, 2 are in use, and the rollout needs 2 more',
  ]);
  assert.deepEqual(problems({ 'count/deployments.apps': '4' }, { 'count/deployments.apps': '2' }), []);
  assert.deepEqual(problems({ services: '1', 'count/secrets': '1' }, { services: '2', 'count/secrets': '3' }), []);
});

test('what a container does not say, a LimitRange says for it', () => {
  const limits = [
    { type: 'Pod', default: { cpu: '64' } },
    { type: 'Container', default: { cpu: '2', memory: '2Gi' }, defaultRequest: { cpu: '1', memory: '8Gi' } },
  ];
  const limitRanges: KubeObject[] = [
    { apiVersion: 'v1', kind: 'LimitRange', metadata: { name: 'usual' }, spec: { limits } },
  ];
  const bare = { spec: { containers: [...TEMPLATE.spec.containers, { name: 'bare', image: 'd' }] } };
  const needed = (name: string): string =>
    quotaProblems({ quotas: [quota({ [name]: '0' })], limitRanges }, bare, { replicas: 1, shares: [] })
      .map(({ problem }) => / needs (\S+) more/.exec(problem)?.[1])
      .join();
  // 250m, 500m of its own limit, and 1 of the default; the limits are 2, 500m and 2.
  assert.equal(needed('requests.cpu'), '1.75');
  assert.equal(needed('limits.cpu'), '4.5');
  // 256Mi, and twice the default request.
  assert.equal(needed('memory'), String(Number((16.25 * 2 ** 30).toPrecision(6))));
});
