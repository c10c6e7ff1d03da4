/**
 * How a weight stands in ingress-nginx: in annotations of a second Ingress with the same hosts and paths, of which the
 * controller knows one for each path
 * (https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary).
 */
import { z } from 'zod';
import { armName } from '../../../domain/target.js';
import type { KubernetesTarget, NamedRoute, Weights } from '../../../domain/target.js';
import { refuse } from '../../fenced/findings.js';
import { serviceOf } from '../arms.js';
import { UNSEEN_DRAIN_MS } from './last-write.js';
import type { TrafficRouter } from './router.js';
import { sharesOf, wholeParts } from './shares.js';

const Path = z.looseObject({
  backend: z.looseObject({ service: z.looseObject({ name: z.string() }).optional() }),
});
type Path = z.infer<typeof Path>;
const Rule = z.looseObject({ http: z.looseObject({ paths: z.array(Path) }).optional() });
const IngressSpec = z.looseObject({
  ingressClassName: z.string().optional(),
  rules: z.array(Rule).default([]),
});

const PREFIX = 'nginx.ingress.kubernetes.io';
const CANARY = `${PREFIX}/canary`;
const WEIGHT = `${PREFIX}/canary-weight`;
const TOTAL = `${PREFIX}/canary-weight-total`;
/** How an Ingress was given its class before it had a field for it. */
const OLD_CLASS = 'kubernetes.io/ingress.class';

/** An Ingress of ingress-nginx. The canary's own is made by the rollout, and goes with its anchor. */
export function ingressNginx(target: KubernetesTarget, { name }: NamedRoute<'Ingress'>): TrafficRouter {
  const namesService = ({ backend: { service } }: Path): boolean => service?.name === target.service;
  const toCanary = (path: Path): Path => ({
    ...path,
    backend: {
      ...path.backend,
      service: { ...path.backend.service, name: serviceOf(target, 'canary') },
    },
  });

  return {
    resource: 'ingresses',
    holder: armName(name, 'canary'),
    source: name,
    others: 'left',
    read({ metadata: { annotations = {} } }) {
      const canary = annotations[CANARY] === 'true' ? Number(annotations[WEIGHT] ?? 0) : 0;
      const total = Number(annotations[TOTAL] ?? 100);
      return {
        weights: sharesOf([
          { arm: 'stable', weight: total - canary },
          { arm: 'canary', weight: canary },
        ]),
      };
    },
    write: (live, weights) => ({
      ...live,
      metadata: { ...live.metadata, annotations: { ...live.metadata.annotations, ...annotationsOf(weights) } },
    }),
    create(source, weights) {
      const { ingressClassName, rules } = IngressSpec.parse(source['spec'] ?? {});
      const named = rules.flatMap(({ http, ...rule }) => {
        const paths = (http?.paths ?? []).filter(namesService).map(toCanary);
        return paths.length === 0 ? [] : [{ ...rule, http: { ...http, paths } }];
      });
      if (named.length === 0) return null;
      const oldClass = source.metadata.annotations?.[OLD_CLASS];
      return {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'Ingress',
        metadata: {
          name: armName(name, 'canary'),
          namespace: target.namespace,
          annotations: { ...(oldClass === undefined ? {} : { [OLD_CLASS]: oldClass }), ...annotationsOf(weights) },
        },
        spec: { ...(ingressClassName === undefined ? {} : { ingressClassName }), rules: named },
      };
    },
    problems(live) {
      const { annotations = {} } = live.metadata;
      if (annotations[CANARY] !== 'true') return [];
      return [
        refuse(
          `Ingress ${target.namespace}/${name} is itself a canary of another one (${CANARY})`,
          'name the Ingress of stable (kubernetes.route)',
        ),
      ];
    },
    // The controller writes no status of what it has taken.
    pending: () => null,
    introduce: null,
    drainMs: () => UNSEEN_DRAIN_MS,
  };
}

function annotationsOf(weights: Weights): Readonly<Record<string, string>> {
  const { parts, total } = wholeParts(weights);
  return { [CANARY]: 'true', [WEIGHT]: String(parts.canary), [TOTAL]: String(total) };
}
