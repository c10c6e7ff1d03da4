/** What a template refers to, and what a release puts in its place. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PodTemplate, templateFor } from '../../../activities/kubernetes/arms.js';
import { configurationNames, referencesOf, withConfig } from '../../../activities/kubernetes/config-references.js';
import { hashRelease, renamedConfig, settingsOf } from '../../../domain/release.js';
import type { ConfigNames } from '../../../domain/release.js';

const TEMPLATE = PodTemplate.parse({
  metadata: { labels: { app: 'hello' }, annotations: { configMap: '{"name": "no reference"}' } },
  spec: {
    initContainers: [{ name: 'init', image: 'i:1', envFrom: [{ secretRef: { name: 'db', optional: true } }] }],
    containers: [
      {
        name: 'app',
        image: 'hello:v1',
        envFrom: [{ prefix: 'A_', configMapRef: { name: 'app-config-9e1b' } }],
        env: [
          { name: 'configMap', value: 'no reference' },
          { name: 'LEVEL', valueFrom: { configMapKeyRef: { name: 'levels', key: 'level' } } },
          { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'db', key: 'password' } } },
        ],
        volumeMounts: [{ name: 'secret', mountPath: '/secret' }],
      },
    ],
    volumes: [
      { name: 'a', configMap: { name: 'app-config-9e1b', items: [{ key: 'app.yaml', path: 'app.yaml' }] } },
      { name: 'b', secret: { secretName: 'tls' } },
      {
        name: 'c',
        projected: {
          sources: [{ configMap: { name: 'ca' } }, { secret: { name: 'tls' } }, { serviceAccountToken: { path: 't' } }],
        },
      },
      { name: 'd', emptyDir: {} },
    ],
  },
});

const NAMES = ['ConfigMap app-config-9e1b', 'ConfigMap ca', 'ConfigMap levels', 'Secret db', 'Secret tls'];

const renamed = (names: Partial<ConfigNames>) => withConfig(TEMPLATE, { configMaps: {}, secrets: {}, ...names });

function namesAfter(names: Partial<ConfigNames>): readonly string[] {
  const result = renamed(names);
  assert.ok(result.kind === 'template', JSON.stringify(result));
  return configurationNames(result.template).toSorted();
}

function refusalOf(names: Partial<ConfigNames>): string {
  const result = renamed(names);
  assert.ok(result.kind === 'none', 'it was taken');
  return result.reason;
}

describe('references of a template', () => {
  it('finds those of variables, of volumes and of init containers, and nothing else', () => {
    assert.deepEqual(configurationNames(TEMPLATE).toSorted(), NAMES);
    const db = referencesOf(TEMPLATE).filter(({ name }) => name === 'db');
    assert.deepEqual(db, [
      { kind: 'Secret', name: 'db', keys: ['password'], optional: false },
      { kind: 'Secret', name: 'db', keys: [], optional: true },
    ]);
    const file = referencesOf(TEMPLATE).find(({ keys }) => keys.includes('app.yaml'));
    assert.deepEqual(file, { kind: 'ConfigMap', name: 'app-config-9e1b', keys: ['app.yaml'], optional: false });
  });

  it('names others wherever the template had the old one, and leaves all else as it is', () => {
    assert.deepEqual(
      namesAfter({ configMaps: { levels: 'levels-2' }, secrets: { db: 'db-2' } }),
      NAMES.map((name) => (name.endsWith('levels') || name.endsWith('db') ? `${name}-2` : name)),
    );
    const there = renamed({ configMaps: { levels: 'levels-2' } });
    const back =
      there.kind === 'template'
        ? withConfig(there.template, { configMaps: { 'levels-2': 'levels' }, secrets: {} })
        : there;
    assert.deepEqual(back, { kind: 'template', template: TEMPLATE });
  });

  it('takes the name without what was appended for the one that is there', () => {
    assert.deepEqual(
      namesAfter({ configMaps: { 'app-config': 'app-config-77ff' } }),
      NAMES.map((name) => name.replace('9e1b', '77ff')),
    );
    const next = { configMaps: { 'app-config': 'app-config-77ff' }, secrets: {} };
    const shipped = withConfig(TEMPLATE, next);
    assert.ok(shipped.kind === 'template');
    assert.deepEqual(withConfig(shipped.template, next), shipped, 'the same release again');
    const whole = { configMaps: { 'app-config-9e1b': 'app-config-77ff' }, secrets: {} };
    assert.deepEqual(withConfig(shipped.template, whole), shipped, 'the same flags again');
    const dated = (name: string) =>
      PodTemplate.parse({
        spec: {
          containers: [
            { name: 'app', image: 'a:1', envFrom: [name, 'db-tls'].map((each) => ({ secretRef: { name: each } })) },
          ],
        },
      });
    assert.deepEqual(withConfig(dated('db-2026-11'), { configMaps: {}, secrets: { db: 'db-2026-12' } }), {
      kind: 'template',
      template: dated('db-2026-12'),
    });
    const other = withConfig(dated('db-2026-11'), { configMaps: {}, secrets: { db: 'db-2' } });
    assert.equal(other.kind, 'none', 'neither the dated one nor what is called tls');
    assert.match(
      refusalOf({ configMaps: { app: 'app-1' } }),
      /refers to no ConfigMap app: it refers to levels, app-config-9e1b, ca/,
    );
  });

  it('asks for the whole name where it may mean several', () => {
    const two = PodTemplate.parse({
      spec: {
        containers: [
          { name: 'app', image: 'a:1', envFrom: ['conf-1', 'conf-2'].map((name) => ({ configMapRef: { name } })) },
        ],
      },
    });
    assert.deepEqual(withConfig(two, { configMaps: { conf: 'conf-3' }, secrets: {} }), {
      kind: 'none',
      reason: 'ConfigMap conf may mean conf-1 or conf-2: write the whole name',
    });
    const one = withConfig(two, { configMaps: { 'conf-1': 'conf-3' }, secrets: {} });
    assert.deepEqual(one.kind === 'template' && configurationNames(one.template), [
      'ConfigMap conf-3',
      'ConfigMap conf-2',
    ]);
  });

  it('swaps two names in one release', () => {
    const swapped = renamed({ configMaps: { levels: 'ca', ca: 'levels' } });
    assert.ok(swapped.kind === 'template');
    const of = (template: PodTemplate) => referencesOf(template).map(({ name }) => name);
    const other: Readonly<Record<string, string>> = { levels: 'ca', ca: 'levels' };
    assert.deepEqual(
      of(swapped.template),
      of(TEMPLATE).map((name) => other[name] ?? name),
    );
  });

  it('refuses what a template does not refer to', () => {
    assert.match(refusalOf({ secrets: { levels: 'x' } }), /refers to no Secret levels: it refers to db, tls/);
    const plain = PodTemplate.parse({ spec: { containers: [{ name: 'app', image: 'a:1' }] } });
    assert.deepEqual(withConfig(plain, { configMaps: {}, secrets: { db: 'db-2' } }), {
      kind: 'none',
      reason: "the Deployment's template refers to no Secret db: it refers to no Secret",
    });
  });
});

describe('a release with other references', () => {
  const change = { commit: null, author: null, message: null, files: null, truncated: false };
  const plain = { images: { app: 'hello:v2' }, env: {}, change };
  const other = { ...plain, ...renamedConfig({ configMaps: { levels: 'levels-2' }, secrets: {} }) };

  it('is another release; one without has the digest that it always had', () => {
    assert.equal(hashRelease(plain).digest, 'sha256:9c7c3ab6c2db46537f3b6dd8205dc3c5cdd43e74f6b7c8b06c879f32411b1d62');
    assert.notEqual(hashRelease(other).digest, hashRelease(plain).digest);
    assert.deepEqual(renamedConfig({ configMaps: {}, secrets: {} }), {});
    assert.deepEqual(settingsOf({ ...other, env: { LEVEL: 'x' } }), ['LEVEL', 'ConfigMap levels']);
  });

  it('is what the canary runs, beside its image', () => {
    const made = templateFor({ from: 'release', release: hashRelease(other) }, TEMPLATE);
    assert.ok(made.kind === 'template');
    assert.equal(made.template.spec.containers[0]?.image, 'hello:v2');
    assert.ok(configurationNames(made.template).includes('ConfigMap levels-2'));
    assert.deepEqual(templateFor({ from: 'recorded' }, made.template), { kind: 'template', template: made.template });
  });
});
