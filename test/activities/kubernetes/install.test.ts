/** What is installed on a cluster is what the API server understands, and grants what preflight asks for, no more. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { COURTESIES, neededPermissions } from '../../../activities/kubernetes/preflight.js';
import { groupOf } from '../../../activities/kubernetes/resources.js';
import type { Resource } from '../../../activities/kubernetes/resources.js';
import { ROUTE_KINDS } from '../../../domain/target.js';
import type { KubernetesTarget } from '../../../domain/target.js';
import { startControlPlane } from '../../../tools/control-plane.js';
import type { KubeObject } from '../../../tools/kube-client.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';

const FOLDER = path.resolve('deploy/kubernetes');

async function documents(name: string): Promise<readonly KubeObject[]> {
  return parseAllDocuments(await readFile(path.join(FOLDER, name), 'utf8')).map(
    (document) => document.toJS() as KubeObject,
  );
}

test('the Role grants every verb that preflight checks, and none besides', async () => {
  const [role] = await documents('role.yaml');
  const rules = role?.['rules'] as { apiGroups: string[]; resources: string[]; verbs: string[] }[];
  const granted = rules.flatMap(({ apiGroups, resources, verbs }) =>
    resources.flatMap((resource) => verbs.map((verb) => `${apiGroups.join()} ${resource} ${verb}`)),
  );
  const needed = ROUTE_KINDS.flatMap((kind) => {
    const target = { route: { kind, name: 'x' } } as KubernetesTarget;
    return [neededPermissions(target), COURTESIES]
      .flatMap(Object.entries<readonly string[]>)
      .flatMap(([resource, verbs]) => verbs.map((verb) => `${groupOf(resource as Resource)} ${resource} ${verb}`));
  });
  assert.deepEqual(granted.toSorted(), [...new Set(needed)].toSorted());
});

test(
  'an API server takes all of it, with no field that it does not know',
  { skip: await reasonToSkip(findKubeApiServer) },
  async () => {
    const { resources } = parse(await readFile(path.join(FOLDER, 'kustomization.yaml'), 'utf8')) as {
      resources: string[];
    };
    const objects = (await Promise.all(resources.map(documents))).flat();
    const dir = await mkdtemp(path.join(tmpdir(), 'slipway-install-'));
    const plane = await startControlPlane({ dir });
    try {
      for (const object of objects) {
        const { apiVersion = '', kind = '' } = object;
        const prefix = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
        const made = await plane.request(
          'POST',
          `${prefix}/namespaces/default/${kind.toLowerCase()}s?fieldValidation=Strict`,
          object,
        );
        assert.equal(made.kind, kind);
      }
      assert.deepEqual(
        objects.map(({ kind }) => kind),
        ['Role', 'ServiceAccount', 'RoleBinding', 'Deployment', 'PersistentVolumeClaim'],
      );
    } finally {
      await plane.stop();
      await rm(dir, { recursive: true, force: true });
    }
  },
);
