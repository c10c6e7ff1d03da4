/** Label selectors, and whom a NetworkPolicy lets through. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admitsOnly, NetworkPolicySpec, selects } from '../../../activities/kubernetes/selectors.js';
import type { LabelSelector } from '../../../activities/kubernetes/selectors.js';

const STABLE = { app: 'hello', team: 'a' };
const CANARY = { app: 'hello-canary', team: 'a', 'slipway.dev/arm': 'canary' };

test('expressions count as Kubernetes evaluates them, together with labels', () => {
  const chosen = (
    key: string,
    operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist',
    ...values: string[]
  ): LabelSelector => ({
    matchExpressions: [{ key, operator, values }],
  });
  const cases: readonly [LabelSelector, boolean, boolean][] = [
    [{}, true, true],
    [{ matchLabels: { team: 'a' } }, true, true],
    [{ matchLabels: { app: 'hello' } }, true, false],
    [chosen('app', 'In', 'hello', 'other'), true, false],
    [chosen('app', 'In', 'hello', 'hello-canary'), true, true],
    [chosen('app', 'NotIn', 'hello'), false, true],
    [chosen('absent', 'NotIn', 'x'), true, true],
    [chosen('absent', 'In', 'x'), false, false],
    [chosen('slipway.dev/arm', 'Exists'), false, true],
    [chosen('slipway.dev/arm', 'DoesNotExist'), true, false],
    [{ ...chosen('team', 'Exists'), matchLabels: { app: 'hello' } }, true, false],
  ];
  for (const [selector, stable, canary] of cases)
    assert.deepEqual(
      [selects(selector, STABLE), selects(selector, CANARY)],
      [stable, canary],
      JSON.stringify(selector),
    );
});

test('a policy lets stable through alone where no rule for the same ports names the canary as well', () => {
  const alone = (spec: object): boolean => admitsOnly(NetworkPolicySpec.parse(spec), STABLE, CANARY);
  const hello = { podSelector: { matchLabels: { app: 'hello' } } };
  const team = { podSelector: { matchLabels: { team: 'a' } } };
  const ports = [{ port: 5432 }];
  assert.equal(alone({ ingress: [{ from: [hello] }] }), true);
  assert.equal(alone({ egress: [{ to: [hello], ports }] }), true);
  assert.equal(alone({ ingress: [{ from: [hello, team] }] }), false);
  assert.equal(alone({ ingress: [{ from: [hello], ports }, { from: [team] }] }), false);
  assert.equal(
    alone({
      ingress: [
        { from: [hello], ports },
        { from: [team], ports: [{ port: 80 }] },
      ],
    }),
    true,
  );
  assert.equal(alone({ ingress: [{ from: [hello] }, {}] }), false, 'all are let through');
  assert.equal(alone({ ingress: [{ from: [{ namespaceSelector: {} }] }] }), false);
  assert.equal(alone({ ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] }), false);
  assert.equal(alone({ ingress: [], podSelector: { matchLabels: { app: 'hello' } } }), false);
});
