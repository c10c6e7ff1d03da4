/** What preflight finds in stable's own template and strategy that a second version beside it can't have, or would break. */
import { z } from 'zod';
import type { KubernetesTarget, PlannedNeeds, PreflightFinding } from '../../domain/target.js';
import { refuse, warn } from '../fenced/findings.js';
import { asSibling, DeploymentSpec } from './arms.js';
import type { PodTemplate } from './arms.js';
import { keepsAwayFrom } from './copies.js';
import type { KubeObject } from './kube-client.js';
import { changedOf } from './kube-store.js';
import type { KubeLane } from './kube-store.js';
import { selects } from './selectors.js';

const Strategy = z.looseObject({ strategy: z.looseObject({ type: z.string().optional() }).optional() });
const Volumes = z.looseObject({
  volumes: z
    .array(z.looseObject({ persistentVolumeClaim: z.looseObject({ claimName: z.string() }).optional() }))
    .default([]),
});
const Claim = z.looseObject({ accessModes: z.array(z.string()).default([]) });
const Ports = z.looseObject({ ports: z.array(z.looseObject({ hostPort: z.int().optional() })).default([]) });

/** Claims are null where the worker may not list them. */
export function besideStable(
  found: Pick<KubeLane, 'stable' | 'service'>,
  claims: readonly KubeObject[] | null,
  target: KubernetesTarget,
  needs: PlannedNeeds,
): readonly PreflightFinding[] {
  const { stable } = found;
  if (stable === null) return [];
  const { template } = DeploymentSpec.parse(stable['spec']);
  const sibling = asSibling(template, changedOf(found, target), 'canary');
  return [
    ...recreated(stable, claimsOf(template, claims ?? []), target, needs),
    ...hostPorts(template, target),
    ...keptAway(template, sibling, target),
  ];
}

/** Those of a template that pods of one node, or one pod only, can have. */
function claimsOf({ spec }: PodTemplate, claims: readonly KubeObject[]): readonly { name: string; single: boolean }[] {
  const names = Volumes.parse(spec).volumes.flatMap(({ persistentVolumeClaim: claim }) => claim?.claimName ?? []);
  return claims
    .filter(({ metadata }) => names.includes(metadata.name))
    .flatMap(({ metadata: { name }, spec: claim }) => {
      const { accessModes } = Claim.parse(claim ?? {});
      const shared = accessModes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany');
      return shared ? [] : [{ name, single: accessModes.includes('ReadWriteOncePod') }];
    });
}

/** Who starts no new pod before the last old one is gone says that two versions must not run at once. */
function recreated(
  stable: KubeObject,
  claims: readonly { name: string; single: boolean }[],
  { namespace, deployment, route }: KubernetesTarget,
  { inPlace }: PlannedNeeds,
): readonly PreflightFinding[] {
  const name = `Deployment ${namespace}/${deployment}`;
  const recreates = Strategy.parse(stable['spec']).strategy?.type === 'Recreate';
  const held = claims.filter(({ single }) => single || recreates);
  const volumes = held.map((claim) =>
    refuse(
      `${name} ${recreates ? 'has the strategy Recreate and writes' : 'writes'} the volume of PersistentVolumeClaim ${claim.name} (${claim.single ? 'ReadWriteOncePod' : 'ReadWriteOnce'}): a canary's pods could not start beside stable's, or would write it at the same time`,
      'keep the data where several pods may write it (ReadWriteMany, a database), or deploy this one without a canary',
    ),
  );
  if (!recreates) return volumes;
  const rolling = `kubectl patch deployment ${deployment} -n ${namespace} --type=merge -p '{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":null}}}'`;
  return [
    ...volumes,
    route.kind === 'none' || inPlace === true
      ? refuse(
          `${name} has the strategy Recreate, and is promoted in place: all of its pods would end before the first new one starts, and nothing would serve meanwhile`,
          route.kind === 'none'
            ? `${rolling}, or split the traffic by a route (kubernetes.route): the canary then serves meanwhile`
            : `${rolling}, or promote: verified: the canary then serves meanwhile`,
        )
      : warn(
          `${name} has the strategy Recreate, and two versions will run at once: a canary beside stable, for as long as the rollout takes`,
          'see that both can work on the same data, or deploy it without a canary',
        ),
  ];
}

function hostPorts(
  { spec: { containers, initContainers = [] } }: PodTemplate,
  { namespace, deployment }: KubernetesTarget,
): readonly PreflightFinding[] {
  const ports = [...containers, ...initContainers].flatMap((container) =>
    Ports.parse(container).ports.flatMap(({ hostPort }) => hostPort ?? []),
  );
  if (ports.length === 0) return [];
  return [
    warn(
      `the pods of Deployment ${namespace}/${deployment} take port ${[...new Set(ports)].join(', ')} of their node: a canary's start on nodes without one of stable's only, and wait where there is none until its progress deadline sends the rollout back`,
      'have as many nodes as there are pods of all arms, or take hostPort away',
    ),
  ];
}

/** Pods that must not be where stable's are need nodes, or zones, of their own. */
function keptAway(
  template: PodTemplate,
  sibling: PodTemplate,
  { namespace, deployment }: KubernetesTarget,
): readonly PreflightFinding[] {
  const labels = (of: PodTemplate) => of.metadata?.labels ?? {};
  const places = [
    ...keepsAwayFrom(sibling.spec, namespace).filter(({ selector }) => selects(selector, labels(template))),
    ...keepsAwayFrom(template.spec, namespace).filter(({ selector }) => selects(selector, labels(sibling))),
  ].map(({ topologyKey }) => topologyKey);
  return [...new Set(places)].map((place) =>
    warn(
      `the pods of Deployment ${namespace}/${deployment} must not share a ${place} with pods that have their labels, which a canary's have too: those start only where none of stable's is, and wait where there is no room until their progress deadline sends the rollout back`,
      'have room for the pods of all arms, prefer it instead of requiring it, or select by the label that the Service selects by: siblings then keep away from their own pods alone',
    ),
  );
}
