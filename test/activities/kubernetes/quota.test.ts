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
    quotaProblems(quotas, TEMPLATE, { replicas: 4, shares: [] }).map(({ problem }) => problem);
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
