import type { Arm, KubernetesTarget, Weights } from '../../../domain/target.js';
import type { PreflightFinding } from '../../../domain/target.js';
import type { KubeObject } from '../kube-client.js';
import type { Resource } from '../resources.js';
import { gatewayApi } from './gateway-api.js';
import { ingressNginx } from './ingress-nginx.js';
import { istio } from './istio.js';
import type { RouteWeights } from './shares.js';

/**
 * How the shares of a service's arms stand in one kind of object: pure functions from what was read to what shall be
 * written. One more way of routing is one more file beside this one.
 */
export interface TrafficRouter {
  readonly resource: Resource;
  /** Name of the object that holds the shares. */
  readonly holder: string;
  /** The object that its owner wrote, where it is another one than the holder: what the holder is made from. */
  readonly source: string | null;
  /** The shares in the holder. Null: it has nothing to do with the Service. */
  read(live: KubeObject): RouteWeights | null;
  /** The live holder with these shares in each rule that names the Service; all else stays as it is. */
  write(live: KubeObject, weights: Weights): KubeObject;
  /**
   * The arms that shall get their first share, and the live holder with an entry for each, of no share; the very same where
   * they have one. Null: none shall. Null in its stead: nobody outside of the cluster routes by such objects.
   */
  readonly introduce: ((live: KubeObject, weights: Weights) => Introduction | null) | null;
  /** A holder made from its source, where Slipway makes it. Null: the source has nothing to do with the Service. */
  create(source: KubeObject, weights: Weights): KubeObject | null;
  /** What in the object that its owner wrote would make shares other than they say. */
  problems(live: KubeObject): readonly PreflightFinding[];
  /** What becomes of further objects of this kind that name the Service. */
  readonly others: 'refused' | 'changed' | 'left';
  /** Null where all who route by it have taken it as it is now; else who has not, and why. Where nobody tells: null. */
  pending(live: KubeObject): string | null;
  /** For so long after it was written requests may still come to who lost their share, ms, where the target doesn't say. */
  drainMs(live: KubeObject): number;
}

export interface Introduction {
  readonly arms: readonly Arm[];
  readonly named: KubeObject;
}

/** How a target's traffic is split. Null: by the number of replicas. */
export function routerOf(target: KubernetesTarget): TrafficRouter | null {
  const { route } = target;
  switch (route.kind) {
    case 'HTTPRoute':
    case 'GRPCRoute':
      return gatewayApi(target, route);
    case 'VirtualService':
      return istio(target, route);
    case 'Ingress':
      return ingressNginx(target, route);
    case 'none':
      return null;
  }
}
