/** What a change of a route is waited for: that it was taken, before pods go, and before a backend gets its first share. */
import { setTimeout as pause } from 'node:timers/promises';
import { compareFences, parseFence } from '../../../domain/fence.js';
import type { Permit } from '../../../domain/fence.js';
import type { Arm, KubernetesTarget, Weights } from '../../../domain/target.js';
import { durationText } from '../../../domain/words.js';
import { Refused, Unavailable } from '../../failures.js';
import { ANNOTATION } from '../../fenced/lane-view.js';
import type { KubeClient, KubeObject } from '../kube-client.js';
import { routeName } from '../kube-store.js';
import { lastWriteMs } from './last-write.js';
import { routerOf } from './router.js';
import type { TrafficRouter } from './router.js';

/** Gateways take a route within a second or two; the activity's own limit is 5 s. */
const ACCEPTED_WITHIN_MS = 3000;
const ACCEPTED_POLL_MS = 100;
/** A gateway whose controller is being replaced is back by then. */
const UNHEARD_BACK_MS = 30 * 60_000;
/** The longest wait in one attempt. */
const DRAIN_STEP_MS = 3000;
/** What routes inside of the cluster knows of a new backend at once, and asks nobody whether it is well. */
const INNER_MS = 10_000;

/**
 * Weights that a gateway has not taken are not how the traffic flows. On the way back that ends: who has not taken them for
 * so long is gone, and a lane must not be held by it for ever.
 * @returns who has not, on the way back; else null
 * @throws Unavailable until all gateways have taken them: a repeated attempt finds them written, and asks again
 */
export async function accepted(
  client: KubeClient,
  target: KubernetesTarget,
  back: boolean,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const router = routerOf(target);
  if (router === null) return null;
  for (const until = Date.now() + ACCEPTED_WITHIN_MS; ;) {
    const { live, others } = await routesOf(client, target, router, signal);
    const why =
      live === null
        ? 'it is gone'
        : [live, ...others].map((each) => router.pending(each)).find((text) => text !== null);
    if (why === undefined) return null;
    if (Date.now() > until) {
      const text = `${routeName(target)} is not in effect yet: ${why}`;
      const nowMs = client.nowMs();
      const forMs = nowMs - ((live && lastWriteMs(live)) ?? nowMs);
      if (back && forMs > UNHEARD_BACK_MS) return `${text}, ${durationText(forMs)} after it was written`;
      throw new Unavailable(text);
    }
    await pause(ACCEPTED_POLL_MS, undefined, signal ? { signal } : {});
  }
}

/** The route that the target names, and further ones that get the same weights. */
async function routesOf(
  client: KubeClient,
  { namespace }: KubernetesTarget,
  router: TrafficRouter,
  signal: AbortSignal | undefined,
): Promise<{ readonly live: KubeObject | null; readonly others: readonly KubeObject[] }> {
  const live = await client.get(router.resource, namespace, router.holder, signal);
  if (router.others !== 'changed') return { live, others: [] };
  const all = await client.list(router.resource, namespace, null, signal);
  return { live, others: all.filter((each) => each.metadata.name !== router.holder && router.read(each) !== null) };
}

/**
 * Names arms in the route for some time before they get a share, where it is a load balancer outside of the cluster that
 * routes: it checks the health of a backend when it knows of it, and answers errors for one that it has not checked yet.
 * That changes no share, so it is no effect of its own; what comes late is refused by fence and version as any write.
 * @returns the arms that have been named for so long, and get their first share now: whether they still serve is not known
 * @throws Unavailable until they have stood there for as long as a change takes
 */
export async function introduced(
  client: KubeClient,
  target: KubernetesTarget,
  weights: Weights,
  { fence }: Permit,
  signal: AbortSignal | undefined,
): Promise<readonly Arm[]> {
  const router = routerOf(target);
  const introduce = router?.introduce;
  if (router == null || introduce == null || weights.stable === 100) return [];
  const { live, others } = await routesOf(client, target, router, signal);
  const slow = (live === null ? [] : [...others, live]).flatMap((route) => {
    const first = introduce(route, weights);
    const takesMs = settlesWithinMs(target, router, route);
    return first === null || takesMs <= INNER_MS ? [] : [{ ...first, route, takesMs }];
  });
  const [longest] = slow.toSorted((one, other) => other.takesMs - one.takesMs);
  if (longest === undefined) return [];
  const { arms, takesMs } = longest;
  const waits = `${routeName(target)} names ${arms.join(' and ')} without a share for ${durationText(takesMs)}, so that load balancers know of them`;
  const unnamed = slow.filter(({ named, route }) => named !== route);
  for (const { named, route } of unnamed) {
    const held = parseFence(route.metadata.annotations?.[ANNOTATION.fence]);
    // Who is late, or finds a route that somebody else has changed, hears so from the effect itself.
    if (held === null || compareFences(held, fence) > 0) return [];
    const written = await client.replace(router.resource, target.namespace, named, signal);
    if (written.kind === 'refused') throw new Refused(written.reason);
  }
  if (unnamed.length > 0) throw new Unavailable(waits);
  const pending = slow.map(({ route }) => router.pending(route)).find((text) => text !== null);
  if (pending !== undefined) throw new Unavailable(`${waits}: ${pending}`);
  const restMs = Math.max(...slow.map((each) => restOf(client, each.route, each.takesMs)));
  if (restMs <= 0) return arms;
  await pause(Math.min(restMs, DRAIN_STEP_MS), undefined, signal ? { signal } : {});
  throw new Unavailable(waits);
}

/**
 * Waits until no gateway sends requests any more to what has lost its traffic: gateways say that they have taken a route
 * before they act on it, and a pod that ends in between fails requests.
 * @throws Unavailable where the rest of the wait is for the next attempt
 */
export async function drained(
  client: KubeClient,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<void> {
  const router = routerOf(target);
  if (router === null) return;
  const route = await client.get(router.resource, target.namespace, router.holder, signal);
  if (route === null) return;
  const drainMs = settlesWithinMs(target, router, route);
  const restMs = restOf(client, route, drainMs);
  if (restMs > 0) await pause(Math.min(restMs, DRAIN_STEP_MS), undefined, signal ? { signal } : {});
  if (restMs > DRAIN_STEP_MS)
    throw new Unavailable(
      `${routeName(target)} was changed ${drainMs - restMs} ms ago: requests may still be on their way`,
    );
}

/** How long a change of a route may take until all who route by it act on it. */
function settlesWithinMs({ route }: KubernetesTarget, router: TrafficRouter, live: KubeObject): number {
  return (route.kind === 'none' ? undefined : route.drainMs) ?? router.drainMs(live);
}

/** What is left until a route's last change is so old, ms; 0 or less where it is. */
function restOf(client: KubeClient, route: KubeObject, forMs: number): number {
  const writtenMs = lastWriteMs(route);
  // A clock that was set back must not make the wait longer than it can be.
  return writtenMs === null ? 0 : Math.min(forMs, writtenMs + forMs - client.nowMs());
}
