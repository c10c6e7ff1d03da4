/** The ConfigMaps and Secrets that a pod template refers to: which, what stands behind them, and others in their place. */
import { z } from 'zod';
import { digestOf } from '../../domain/canonical.js';
import type { ConfigNames } from '../../domain/release.js';
import type { Configuration, KubernetesTarget, PreflightFinding } from '../../domain/target.js';
import { Refused } from '../failures.js';
import { NO_SUCH } from '../fenced/configuration.js';
import { refuse } from '../fenced/findings.js';
import type { PodTemplate } from './arms.js';
import type { KubeClient, KubeObject } from './kube-client.js';

export interface ConfigReference {
  readonly kind: 'ConfigMap' | 'Secret';
  readonly name: string;
  /** The keys without which no pod starts; none where it takes what is there. */
  readonly keys: readonly string[];
  /** Pods start without it. */
  readonly optional: boolean;
}

/** Set on a ConfigMap or Secret that may change while a rollout is under way: what an application keeps there itself, say. */
export const CONFIG_ANNOTATION = 'slipway.dev/config';
const IGNORED = 'ignore';

/** Fields of containers and volumes that refer to one, and the field of theirs that has its name. */
const FIELDS: Readonly<Record<string, { readonly kind: ConfigReference['kind']; readonly names: readonly string[] }>> =
  {
    configMapKeyRef: { kind: 'ConfigMap', names: ['name'] },
    configMapRef: { kind: 'ConfigMap', names: ['name'] },
    configMap: { kind: 'ConfigMap', names: ['name'] },
    secretKeyRef: { kind: 'Secret', names: ['name'] },
    secretRef: { kind: 'Secret', names: ['name'] },
    // Of a volume, and of a source of a projected one.
    secret: { kind: 'Secret', names: ['secretName', 'name'] },
    azureFile: { kind: 'Secret', names: ['secretName'] },
    nodePublishSecretRef: { kind: 'Secret', names: ['name'] },
  };

/** Git's; Kustomize and kubectl append 10 characters. */
const SHORT_HASH = 7;

const Reference = z.looseObject({
  key: z.string().optional(),
  items: z.array(z.looseObject({ key: z.string() })).optional(),
  optional: z.boolean().default(false),
});

/** All references of a template; those of one object by several containers are several. */
export function referencesOf(template: PodTemplate): readonly ConfigReference[] {
  const found: ConfigReference[] = [];
  rewritten(template, (reference) => {
    found.push(reference);
    return reference.name;
  });
  return found;
}

/** By kind and name, as `Configuration` has them. */
export function configurationNames(template: PodTemplate): readonly string[] {
  return [...new Set(referencesOf(template).map(nameOf))];
}

function nameOf({ kind, name }: Pick<ConfigReference, 'kind' | 'name'>): string {
  return `${kind} ${name}`;
}

/** The same template with other names in its references. */
function rewritten(template: PodTemplate, rename: (reference: ConfigReference) => string): PodTemplate {
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([field, inner]) => [field, referred(field, inner) ?? walk(inner)]),
    );
  };
  const referred = (field: string, value: unknown): unknown => {
    const known = FIELDS[field];
    if (known === undefined || typeof value !== 'object' || value === null) return null;
    const fields = value as Readonly<Record<string, unknown>>;
    const holder = known.names.find((each) => typeof fields[each] === 'string');
    if (holder === undefined) return null;
    const { key, items = [], optional } = Reference.parse(value);
    const keys = [...(key === undefined ? [] : [key]), ...items.map((item) => item.key)];
    return { ...fields, [holder]: rename({ kind: known.kind, name: String(fields[holder]), keys, optional }) };
  };
  const { containers, initContainers, volumes } = template.spec;
  const parts = {
    containers: walk(containers) as typeof containers,
    ...(initContainers === undefined ? {} : { initContainers: walk(initContainers) as typeof initContainers }),
    ...(volumes === undefined ? {} : { volumes: walk(volumes) }),
  };
  return { ...template, spec: { ...template.spec, ...parts } };
}

/** A template that refers to what a release names, or why it can't. */
export function withConfig(
  template: PodTemplate,
  { configMaps, secrets }: ConfigNames,
): { readonly kind: 'template'; readonly template: PodTemplate } | { readonly kind: 'none'; readonly reason: string } {
  const known = referencesOf(template);
  const renames = new Map<string, string>();
  const wanted = [
    ...Object.entries(configMaps).map(([name, to]) => ({ kind: 'ConfigMap', name, to }) as const),
    ...Object.entries(secrets).map(([name, to]) => ({ kind: 'Secret', name, to }) as const),
  ];
  for (const { kind, name, to } of wanted) {
    const names = [...new Set(known.filter((each) => each.kind === kind).map((each) => each.name))];
    const meant = names.includes(name) ? [name] : names.filter((each) => each === to || sameSeries(name, to, each));
    const [only] = meant;
    if (only === undefined) {
      const others = names.length === 0 ? `it refers to no ${kind}` : `it refers to ${names.join(', ')}`;
      return { kind: 'none', reason: `the Deployment's template refers to no ${kind} ${name}: ${others}` };
    }
    if (meant.length > 1)
      return { kind: 'none', reason: `${kind} ${name} may mean ${meant.join(' or ')}: write the whole name` };
    renames.set(nameOf({ kind, name: only }), to);
  }
  return {
    kind: 'template',
    template: rewritten(template, (reference) => renames.get(nameOf(reference)) ?? reference.name),
  };
}

/**
 * Whether a name is another version of what is called like this, as the new one is: to `db`, `db-2026-11` is what `db-2026-12`
 * is, and `db-tls` is not. What is appended has as many words, and a digit in it, as dates and numbers have; or it is as
 * long, as hashes are, of which some have no digit.
 */
function sameSeries(name: string, to: string, each: string): boolean {
  const [before, after] = [each, to].map((one) => (one.startsWith(`${name}-`) ? one.slice(name.length + 1) : null));
  if (before == null || after == null) return false;
  const isHash = before.length === after.length && before.length >= SHORT_HASH;
  return (isHash || /\d/.test(before)) && before.split('-').length === after.split('-').length;
}

/** What stands behind references now: without those that may not be read, or that are said to change by themselves. */
export async function readConfiguration(
  client: KubeClient,
  namespace: string,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Configuration> {
  const read = await Promise.all(names.map(async (name) => [name, await versionOf(name)] as const));
  return Object.fromEntries(read.flatMap(([name, version]) => (version === null ? [] : [[name, version]])));

  async function versionOf(name: string): Promise<string | null> {
    const [kind, ...rest] = name.split(' ');
    try {
      const live = await readOne(client, namespace, kind === 'Secret' ? 'Secret' : 'ConfigMap', rest.join(' '), signal);
      if (live === null) return NO_SUCH;
      if (live.metadata.annotations?.[CONFIG_ANNOTATION] === IGNORED) return null;
      if (kind === 'Secret') return `version ${live.metadata.resourceVersion ?? 'unknown'}`;
      return digestOf({ data: live['data'] ?? {}, binaryData: live['binaryData'] ?? {} });
    } catch (error) {
      if (error instanceof Refused) return null;
      throw error;
    }
  }
}

/** Of a Secret nothing but which version of it there is. */
function readOne(
  client: KubeClient,
  namespace: string,
  kind: ConfigReference['kind'],
  name: string,
  signal: AbortSignal | undefined,
): Promise<KubeObject | null> {
  return kind === 'Secret'
    ? client.peek('secrets', namespace, name, signal)
    : client.get('configmaps', namespace, name, signal);
}

/** What pods of a template could not start without, and is not there. */
export async function missingConfiguration(
  client: KubeClient,
  template: PodTemplate,
  { namespace, deployment }: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  const needed = new Map<string, ConfigReference>();
  for (const reference of referencesOf(template).filter(({ optional }) => !optional)) {
    const name = nameOf(reference);
    const keys = [...(needed.get(name)?.keys ?? []), ...reference.keys];
    needed.set(name, { ...reference, keys });
  }
  const findings = await Promise.all([...needed.values()].map(missing));
  return findings.flat();

  async function missing({ kind, name, keys }: ConfigReference): Promise<readonly PreflightFinding[]> {
    const whole = `${kind} ${namespace}/${name}`;
    const pods = `pods of Deployment ${namespace}/${deployment} with this release refer to it, and would not start`;
    try {
      const live = await readOne(client, namespace, kind, name, signal);
      const remedy = `apply it first, or name another one (${kind === 'Secret' ? '--use-secret' : '--use-config-map'})`;
      if (live === null) return [refuse(`there is no ${whole}: ${pods}`, remedy)];
      if (kind === 'Secret') return [];
      const has = { ...(live['data'] as object | undefined), ...(live['binaryData'] as object | undefined) };
      const lacks = new Set(keys.filter((key) => !Object.hasOwn(has, key)));
      if (lacks.size === 0) return [];
      return [refuse(`${whole} has no ${[...lacks].join(', ')}: ${pods}`, remedy)];
    } catch (error) {
      if (error instanceof Refused) return [];
      throw error;
    }
  }
}
