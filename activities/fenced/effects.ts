import { shortDigest } from '../../domain/canonical.js';
import { compareFences, formatFence } from '../../domain/fence.js';
import {
  creditOf,
  decide,
  fencedBody,
  lostFence,
  resultOf,
  settle,
  staleAgainst,
  untilSettled,
} from './fenced-write.js';
import { lackOf } from '../../domain/capacity.js';
import { ALL_STABLE, CONFIGURATION } from '../../domain/target.js';
import {
  ANNOTATION,
  armStateOf,
  fenceOf,
  readLane,
  readServing,
  recordOf,
  rolloutAnchorName,
  ROUTE,
  SENT_BACK,
  wasCut,
} from './lane-view.js';
import { changedConfiguration, configurationOf } from './configuration.js';
import { finishRollout } from './lane-anchor.js';
import type { Permit } from '../../domain/fence.js';
import type {
  Arm,
  Configuration,
  Effect,
  EffectOf,
  EffectResult,
  TemplateSource,
  Weights,
} from '../../domain/target.js';
import type { PlatformScope } from '../platform.js';
import type { Attempt } from './fenced-write.js';
import type { LaneView, RolloutSpec, ServingView } from './lane-view.js';
import type { LaneStore, NewObject, PlatformTypes, StoredArm, StoredObject, StoredRoute } from './store.js';

/** All that one application of an effect works with. */
export interface EffectContext<P extends PlatformTypes> {
  readonly store: LaneStore<P>;
  readonly scope: PlatformScope;
  readonly permit: Permit;
  readonly signal: AbortSignal | undefined;
}

/** Applies one effect exactly once for its key: see `Platform.apply`. */
export async function applyEffect<P extends PlatformTypes>(
  context: EffectContext<P>,
  effect: Effect,
): Promise<EffectResult> {
  const { store, scope, signal } = context;
  // What earlier attempts of this call have written already, where one effect writes several objects.
  const written: Written = { any: false, drift: [] };
  const result = await untilSettled(store.where, signal, async () => {
    if (effect.op === 'cut-traffic')
      return cutTraffic(context, await readServing(store, scope.rolloutId, signal), written);
    return attempt(context, effect, await readLane(store, scope.rolloutId, signal), written);
  });
  return result.kind === 'already' && written.any ? { kind: 'applied', drift: written.drift } : result;
}

interface Written {
  any: boolean;
  drift: string[];
}

async function attempt<P extends PlatformTypes>(
  context: EffectContext<P>,
  effect: Exclude<Effect, { op: 'cut-traffic' }>,
  view: LaneView<P>,
  written: Written,
): Promise<Attempt<EffectResult>> {
  const { store } = context;
  const over = (isForward(effect) ? sentBack(context, view) : null) ?? (await reconfigured(context, view, effect));
  if (over !== null) return over;
  switch (effect.op) {
    case 'open-rollout':
      return openRollout(context, view, effect);
    case 'record-configuration':
      return recordConfiguration(context, view);
    case 'raise-fence':
      return raiseFence(context, view, written);
    case 'start-arm':
      return setArm(context, view, effect.arm, effect.template, effect.replicas);
    case 'set-stable-template':
      return setArm(context, view, 'stable', effect.template, effect.replicas);
    case 'set-weights':
      return store.split === 'weights'
        ? setWeights(context, view, effect, written)
        : scaleAway(context, view, effect, written);
    case 'remove-arm':
      return remove(context, view, view.arms[effect.arm] ?? null);
    case 'remove-stable':
      return removeStable(context, view, written);
    case 'close-rollout':
      return finishRollout(context, view, effect.outcome, written);
  }
}

/** Whether it brings the new version nearer to users. */
function isForward(effect: Effect): boolean {
  switch (effect.op) {
    case 'start-arm':
    case 'set-stable-template':
      return effect.template.from === 'release';
    case 'set-weights':
      return effect.weights.stable < 100;
    case 'open-rollout':
    case 'record-configuration':
    case 'raise-fence':
    case 'cut-traffic':
    case 'remove-arm':
    case 'remove-stable':
    case 'close-rollout':
      return false;
  }
}

/**
 * A person may end a watch in the very moment in which it sees harm: its cut stands, and its word is lost. Nothing of a
 * version that users were taken from is begun after that; refused, the rollout goes back.
 */
function sentBack<P extends PlatformTypes>({ permit }: EffectContext<P>, view: LaneView<P>): EffectResult | null {
  const { route } = view;
  if (route === null || !wasCut(view)) return null;
  return staleAgainst(route, permit) ?? { kind: 'refused', object: 'route', reason: SENT_BACK };
}

/**
 * What users would get more of is not what was judged: not begun before a person lets that be. More of what runs already is
 * no more of that; and all traffic on a stable that runs the release by now is the last step forward.
 */
async function reconfigured<P extends PlatformTypes>(
  { store, permit, signal }: EffectContext<P>,
  view: LaneView<P>,
  effect: Effect,
): Promise<EffectResult | null> {
  if (permit.onDrift === 'overwrite' || !(isForward(effect) || effect.op === 'set-weights')) return null;
  const { arms, route } = view;
  const arm = effect.op === 'start-arm' ? arms[effect.arm] : effect.op === 'set-stable-template' ? arms.stable : null;
  const object = arm ?? route;
  // What comes too late is told so, and what is there is not taken back.
  if (object !== null && (staleAgainst(object, permit) || object.annotations[ANNOTATION.key] === permit.key))
    return null;
  if (arm != null && effect.op === 'start-arm' && runs(store, view, arm, effect.template)) return null;
  const changed = await changedConfiguration(store, view, signal);
  return changed && { kind: 'drift', object: CONFIGURATION, found: changed.found, expected: changed.expected };
}

function runs<P extends PlatformTypes>(
  store: LaneStore<P>,
  { rollout }: LaneView<P>,
  { spec, annotations }: StoredArm<P>,
  source: TemplateSource,
): boolean {
  const wanted = rollout === null ? null : store.templateFor(source, rollout.spec.recorded);
  if (wanted?.kind !== 'template') return false;
  const name = { kind: 'arm', name: 'canary' } as const;
  const leaves = store.leaves(name, { ...spec, template: wanted.template });
  return leaves === store.leaves(name, spec) || leaves === annotations[ANNOTATION.meant];
}

async function openRollout<P extends PlatformTypes>(
  { store, scope, permit, signal }: EffectContext<P>,
  view: LaneView<P>,
  { release }: EffectOf<'open-rollout'>,
): Promise<Attempt<EffectResult>> {
  if (view.rollout !== null) {
    const { configuration } = view.rollout.spec.recorded;
    return staleAgainst(view.rollout.object, permit) ?? { kind: 'already', ...noting(configuration) };
  }
  // Without a look at the lane, an attempt that comes after the rollout's end would open it once more.
  const stale = staleLane(view, permit);
  if (stale) return stale;
  const current = view.lane?.spec.current ?? null;
  if (current?.rolloutId !== scope.rolloutId) {
    const holder = current === null ? 'nobody' : `rollout ${current.rolloutId}`;
    return {
      kind: 'refused',
      object: 'anchor',
      reason: `the lane is held by ${holder}, not by rollout ${scope.rolloutId}`,
    };
  }
  const name = rolloutAnchorName(scope.rolloutId);
  const recorded = recordOf(store, view);
  const released = release === undefined ? null : store.templateFor({ from: 'release', release }, recorded);
  const templates = [recorded.template, released?.kind === 'template' ? released.template : null];
  const configuration = await configurationOf(
    store,
    templates.filter((template) => template !== null),
    signal,
  );
  const spec = { rolloutId: scope.rolloutId, recorded: { ...recorded, ...noting(configuration) } };
  const ref = { kind: 'anchor', name } as const;
  const body = fencedBody(store, ref, spec, permit, null, null);
  const opened = settle(name, await store.create(ref, body, creditOf(permit), signal));
  return opened?.kind === 'applied' ? { ...opened, ...noting(configuration) } : opened;
}

async function recordConfiguration<P extends PlatformTypes>(
  { store, permit, signal }: EffectContext<P>,
  { rollout }: LaneView<P>,
): Promise<Attempt<EffectResult>> {
  if (rollout === null) return { kind: 'refused', object: 'anchor', reason: "the rollout's anchor is gone" };
  const { object, spec } = rollout;
  const stale = staleAgainst(object, permit);
  if (stale) return stale;
  const before = spec.recorded.configuration ?? {};
  // By its fence too: a run that was reset means by this key what there is now.
  if (
    object.annotations[ANNOTATION.key] === permit.key &&
    object.annotations[ANNOTATION.fence] === formatFence(permit.fence)
  )
    return { kind: 'already', ...noting(before) };
  const configuration = { ...before, ...(await store.configuration(Object.keys(before), signal)) };
  const held = object.spec as RolloutSpec<P>;
  const wanted = { ...held, recorded: { ...held.recorded, configuration } };
  const body = fencedBody(store, object, wanted, permit, object.owner, object);
  const recorded = settle(object.name, await store.replace(object, body, creditOf(permit), signal));
  return recorded?.kind === 'applied' ? { ...recorded, ...noting(configuration) } : recorded;
}

function noting(configuration: Configuration = {}): { readonly configuration?: Configuration } {
  return Object.keys(configuration).length === 0 ? {} : { configuration };
}

/** A newer grant means that this attempt's rollout was taken over or is long over. */
export function staleLane(
  view: LaneView<PlatformTypes>,
  permit: Permit,
): Extract<EffectResult, { kind: 'stale' }> | null {
  const generation = view.lane?.spec.generation ?? 0;
  return generation > permit.fence.generation ? { kind: 'stale', object: 'lane', held: { generation, step: 0 } } : null;
}

async function raiseFence<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: LaneView<P>,
  written: Written,
): Promise<Attempt<EffectResult>> {
  const { store, permit, signal } = context;
  // The anchor first: from then on late creates are refused. The route next: traffic matters most.
  const { canary, baseline, stable } = view.arms;
  const routes = [view.route, ...view.moreRoutes];
  const objects = [view.rollout?.object, ...routes, canary, baseline, stable, view.autoscaler].filter(
    (object) => object != null,
  );
  for (const object of objects) {
    const stale = staleAgainst(object, permit);
    if (stale) return stale;
  }
  for (const object of objects) {
    const held = fenceOf(object);
    if (held !== null && compareFences(held, permit.fence) === 0) continue;
    const lost = lostFence(store, object);
    if (lost !== null && permit.onDrift === 'hold') return { kind: 'drift', object: object.name, ...lost };
    // Only the fence: key and applied value stay, so that duplicates and drift are still seen for what they are.
    const annotations = { ...object.annotations, [ANNOTATION.fence]: formatFence(permit.fence) };
    const body = { spec: object.spec, annotations, owner: object.owner };
    const outcome = settle(object.name, await store.replace(object, body, creditOf(permit), signal));
    if (outcome?.kind !== 'applied') return outcome;
    note(written, lost === null ? [] : [`${object.name}: found ${lost.found}`]);
  }
  return { kind: 'already' };
}

async function setArm<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: LaneView<P>,
  arm: Arm,
  source: TemplateSource,
  replicas: number,
): Promise<Attempt<EffectResult>> {
  const { store, permit } = context;
  const { rollout } = view;
  const existing = view.arms[arm] ?? null;
  // The arm's own fence speaks first: to a late attempt "stale" says more than "gone".
  const stale = existing && staleAgainst(existing, permit);
  if (stale) return stale;
  if (rollout === null) return { kind: 'refused', object: arm, reason: "the rollout's anchor is gone" };
  if (arm === 'stable' && existing === null && rollout.spec.recorded.template !== null && permit.onDrift === 'hold')
    return gone(arm);
  const wanted = store.templateFor(source, rollout.spec.recorded);
  if (wanted.kind === 'none') return { kind: 'refused', object: arm, reason: wanted.reason };
  const spec = { template: wanted.template, replicas };
  // Stable outlives the rollout; its siblings must not.
  const owner = arm === 'stable' ? (existing?.owner ?? null) : rollout.object.uid;
  return put(context, view, { ref: { kind: 'arm', name: arm }, existing, spec, owner });
}

async function setWeights<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: LaneView<P>,
  { weights }: EffectOf<'set-weights'>,
  written: Written,
): Promise<Attempt<EffectResult>> {
  if (view.route === null && view.rollout?.spec.recorded.weights != null && context.permit.onDrift === 'hold')
    return gone('route');
  const whole = weights.stable === 100;
  // An autoscaler takes an arm that gets less traffic for one that needs fewer replicas.
  const pinned = whole ? null : await setLeastSize(context, view, 'pinned', written);
  if (pinned !== null && pinned?.kind !== 'already') return pinned;
  const moved = await writeRoutes(context, view, weights, written);
  if (!whole || view.autoscaler === null || !isDone(moved, written)) return moved;
  return setLeastSize(context, view, 'restored', written);
}

/** The same weights into all routes, the one that the target names last. */
async function writeRoutes<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: ServingView<P>,
  weights: Weights,
  written: Written,
): Promise<Attempt<EffectResult>> {
  const write = (name: string, route: StoredRoute<P> | null): Promise<Attempt<EffectResult>> =>
    put(context, view, {
      ref: { kind: 'route', name },
      existing: route,
      spec: { weights },
      owner: route?.owner ?? null,
    });
  for (const other of view.moreRoutes) {
    const moved = await write(other.name, other);
    if (!isDone(moved, written)) return moved;
  }
  return write(ROUTE, view.route);
}

/**
 * The fence on the routes is the only one that is raised: who comes late to them is refused or loses by the condition of
 * its write. All other objects are fenced by what follows. What stable's autoscaler may do is left as it is until then.
 */
async function cutTraffic<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: ServingView<P>,
  written: Written,
): Promise<Attempt<EffectResult>> {
  const { rollout, arms } = view;
  for (const object of [rollout?.object, arms.stable]) {
    const stale = object && staleAgainst(object, context.permit);
    if (stale) return stale;
  }
  const reason = hindranceOf(context.store, view);
  return reason === null ? writeRoutes(context, view, ALL_STABLE, written) : { kind: 'declined', reason };
}

/** Why traffic can't go to stable before anything else is done; null where it can. */
function hindranceOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  { rollout, route, arms }: ServingView<P>,
): string | null {
  if (store.split === 'replicas') return 'shares of traffic follow from the numbers of replicas';
  if (rollout === null) return "the rollout's anchor is gone";
  if (route === null) return 'there is no route that names the service';
  const { recorded } = rollout.spec;
  if (recorded.template === null) return 'nothing served before';
  if (arms.stable === undefined) return 'stable is gone';
  const stable = armStateOf(store, arms.stable);
  const before = store.digest(recorded.template);
  if (stable.templateDigest !== before)
    return `stable runs template ${shortDigest(stable.templateDigest)}, it ran ${shortDigest(before)}`;
  const lack = lackOf(stable, recorded, route.spec.weights);
  return lack === null ? null : `stable: ${lack}`;
}

/**
 * Keeps stable's autoscaler from making stable smaller while it has less than all of the traffic, for a rollback must find
 * it at full size; and gives it back its own limit afterwards. `already`: it is as it shall be, or there is none.
 */
async function setLeastSize<P extends PlatformTypes>(
  { store, permit, signal }: EffectContext<P>,
  view: LaneView<P>,
  wanted: 'pinned' | 'restored',
  written: Written,
): Promise<Attempt<EffectResult>> {
  const { autoscaler, rollout, arms } = view;
  if (autoscaler === null) return { kind: 'already' };
  const { [ANNOTATION.minReplicas]: own, ...others } = autoscaler.annotations;
  if (wanted === 'restored' && own === undefined) return { kind: 'already' };
  const { minReplicas, maxReplicas } = autoscaler.spec;
  const full = Math.max(rollout?.spec.recorded.replicas ?? 0, arms.stable?.spec.replicas ?? 0, minReplicas);
  const before = Number.isInteger(Number(own)) ? Number(own) : minReplicas;
  const spec = { ...autoscaler.spec, minReplicas: wanted === 'pinned' ? Math.min(full, maxReplicas) : before };
  const stale = staleAgainst(autoscaler, permit);
  if (stale) return stale;
  if (wanted === 'pinned' && own !== undefined && spec.minReplicas === minReplicas) return { kind: 'already' };
  const decision = decide(store, view, autoscaler, permit, spec);
  if (decision.kind !== 'apply') return resultOf(autoscaler.name, decision);
  const body = fencedBody(store, autoscaler, spec, permit, autoscaler.owner, { ...autoscaler, annotations: others });
  const annotations =
    wanted === 'pinned'
      ? { ...body.annotations, [ANNOTATION.minReplicas]: own ?? String(minReplicas) }
      : body.annotations;
  const outcome = await store.replace(autoscaler, { ...body, annotations }, creditOf(permit), signal);
  const settled = settle(autoscaler.name, outcome);
  if (settled?.kind !== 'applied') return settled;
  note(written, decision.drift === null ? [] : [`${autoscaler.name}: ${decision.drift}`]);
  return { kind: 'already' };
}

/**
 * Where shares follow from the numbers of replicas, an arm has its share from when it can serve; and one that shall have
 * none is scaled to nothing.
 */
async function scaleAway<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: LaneView<P>,
  { weights }: EffectOf<'set-weights'>,
  written: Written,
): Promise<Attempt<EffectResult>> {
  for (const name of ['canary', 'baseline'] as const) {
    const arm = view.arms[name];
    if (arm === undefined || weights[name] > 0) continue;
    const scaled = await put(context, view, {
      ref: { kind: 'arm', name },
      existing: arm,
      spec: { ...arm.spec, replicas: 0 },
      owner: arm.owner,
    });
    if (!isDone(scaled, written)) return scaled;
  }
  return { kind: 'already' };
}

/** It was there when the rollout opened. Whoever took it away must put it back: nobody else knows how it was. */
function gone(object: string): EffectResult {
  return { kind: 'drift', object, found: 'gone', expected: 'something there' };
}

interface Put<P extends PlatformTypes> {
  readonly ref: NewObject;
  readonly existing: StoredObject<P> | null;
  readonly spec: unknown;
  readonly owner: string | null;
}

/** Creates or replaces an object as its fence allows. */
async function put<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: Pick<LaneView<P>, 'rollout'>,
  { ref, existing, spec, owner }: Put<P>,
): Promise<Attempt<EffectResult>> {
  const { store, permit, signal } = context;
  if (existing === null) {
    // What is not there has no fence to refuse a late attempt: the rollout's anchor answers for it, before the write
    // by its fence, and after it as the owner, which a late creation finds gone and is collected with.
    const anchor = view.rollout?.object;
    if (anchor === undefined) return { kind: 'refused', object: ref.name, reason: "the rollout's anchor is gone" };
    const stale = staleAgainst(anchor, permit);
    if (stale) return stale;
    return settle(
      ref.name,
      await store.create(ref, fencedBody(store, ref, spec, permit, anchor.uid, null), creditOf(permit), signal),
    );
  }
  const decision = decide(store, view, existing, permit, spec);
  if (decision.kind !== 'apply') return resultOf(ref.name, decision);
  const body = fencedBody(store, ref, spec, permit, owner, existing);
  const drift = decision.drift === null ? [] : [`${ref.name}: ${decision.drift}`];
  return settle(ref.name, await store.replace(existing, body, creditOf(permit), signal), drift);
}

async function remove<P extends PlatformTypes>(
  { store, permit, signal }: EffectContext<P>,
  view: LaneView<P>,
  object: StoredObject<P> | null,
): Promise<Attempt<EffectResult>> {
  if (object === null) return { kind: 'already' };
  const decision = decide(store, view, object, permit, null);
  if (decision.kind !== 'apply') return resultOf(object.name, decision);
  const drift = decision.drift === null ? [] : [`${object.name}: ${decision.drift}`];
  return settle(object.name, await store.remove(object, creditOf(permit), signal), drift);
}

/** The route goes first: no request is sent to an arm that is being taken away. */
async function removeStable<P extends PlatformTypes>(
  context: EffectContext<P>,
  view: LaneView<P>,
  written: Written,
): Promise<Attempt<EffectResult>> {
  const route = await remove(context, view, view.route);
  if (!isDone(route, written)) return route;
  const stable = await remove(context, view, view.arms.stable ?? null);
  if (stable?.kind !== 'applied') return stable;
  note(written, stable.drift);
  return { kind: 'already' };
}

/** Whether one object of several is as it shall be, so that the next one's turn has come; what was written is noted. */
function isDone(outcome: Attempt<EffectResult>, written: Written): boolean {
  if (outcome?.kind === 'applied') note(written, outcome.drift);
  return outcome?.kind === 'applied' || outcome?.kind === 'already';
}

function note(written: Written, drift: readonly string[]): void {
  written.any = true;
  written.drift.push(...drift);
}
