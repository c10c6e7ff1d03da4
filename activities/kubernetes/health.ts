/** What pods and endpoints say of an arm's health: pure functions. */
import { z } from 'zod';
import { shortDigest } from '../../domain/canonical.js';
import { Conditions } from './conditions.js';
import type { KubeObject } from './kube-client.js';

const Endpoints = z.array(
  z.looseObject({
    addresses: z.array(z.string()).default([]),
    // By the API's word, "unknown" counts as ready.
    conditions: z.looseObject({ ready: z.boolean().nullish() }).nullish(),
  }),
);

/** Endpoints that get traffic. */
export function readyEndpoints(slices: readonly KubeObject[]): number {
  const addresses = slices.flatMap((slice) =>
    Endpoints.parse(slice['endpoints'] ?? [])
      .filter(({ conditions }) => conditions?.ready !== false)
      .flatMap(({ addresses }) => addresses),
  );
  return new Set(addresses).size;
}

/** Kubernetes' own, where a Deployment says nothing else. */
const USUAL_PROGRESS_S = 600;
const Progress = z.looseObject({ progressDeadlineSeconds: z.int().nullish() });

/** For how long a Deployment may make no progress before Kubernetes calls it failed. */
export function progressMsOf(deployment: KubeObject): number {
  return (Progress.parse(deployment['spec']).progressDeadlineSeconds ?? USUAL_PROGRESS_S) * 1000;
}

const State = z.looseObject({
  waiting: z.looseObject({ reason: z.string().optional(), message: z.string().optional() }).optional(),
  terminated: z.looseObject({ reason: z.string().optional(), exitCode: z.int().optional() }).optional(),
});
const ContainerStatuses = z
  .array(
    z.looseObject({
      name: z.string(),
      /** What the runtime says that it runs; empty until it has the image. */
      imageID: z.string().default(''),
      ready: z.boolean().default(false),
      restartCount: z.int().default(0),
      state: State.optional(),
    }),
  )
  .default([]);
const PodStatus = z.looseObject({
  conditions: Conditions,
  containerStatuses: ContainerStatuses,
  initContainerStatuses: ContainerStatuses,
});
const NamedImages = z.array(z.looseObject({ name: z.string(), image: z.string().default('') })).default([]);
const PodSpec = z.looseObject({ containers: NamedImages, initContainers: NamedImages });

const MAX_LENGTH = 300;

/** Why pods are not ready, of the first of them that says anything; null where none does. */
export function waitingPods(pods: readonly KubeObject[]): string | null {
  for (const pod of pods) {
    const { conditions, containerStatuses } = PodStatus.parse(pod['status'] ?? {});
    const unscheduled = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
    if (unscheduled !== undefined) return cut(`${pod.metadata.name}: ${unscheduled.message ?? 'not scheduled'}`);
    for (const { name, ready, restartCount, state } of containerStatuses) {
      if (ready) continue;
      const { waiting, terminated } = state ?? {};
      const why =
        waiting !== undefined
          ? [waiting.reason, waiting.message].filter((text) => text !== undefined).join(': ')
          : terminated !== undefined
            ? `ended (${terminated.reason ?? 'no reason'}, exit code ${terminated.exitCode ?? 'unknown'})`
            : 'runs, and its readiness probe fails';
      const restarts = restartCount === 0 ? '' : `, restarted ${restartCount} times`;
      return cut(`${pod.metadata.name}, container ${name}: ${why}${restarts}`);
    }
  }
  return null;
}

/**
 * Why pods of one arm don't run the same bytes, though their images have the same name: a tag that was moved while they
 * started, one after the other. Null where they agree. An image by digest can't differ, and how a runtime names it may.
 */
export function differingImages(pods: readonly KubeObject[]): string | null {
  const first = new Map<string, { readonly pod: string; readonly digest: string }>();
  for (const { metadata, ...pod } of pods) {
    if (metadata.deletionTimestamp !== undefined) continue;
    const { containers, initContainers } = PodSpec.parse(pod['spec'] ?? {});
    const { containerStatuses, initContainerStatuses } = PodStatus.parse(pod['status'] ?? {});
    const runs = new Map([...containerStatuses, ...initContainerStatuses].map(({ name, imageID }) => [name, imageID]));
    for (const { name, image } of [...containers, ...initContainers]) {
      const imageId = runs.get(name) ?? '';
      if (image.includes('@') || imageId === '') continue;
      // Runtimes and mirrors put other names before the digest.
      const digest = imageId.slice(imageId.lastIndexOf('@') + 1);
      const other = first.get(`${name} ${image}`);
      if (other === undefined) first.set(`${name} ${image}`, { pod: metadata.name, digest });
      else if (other.digest !== digest)
        return `${image} (container ${name}) is ${shortDigest(other.digest)} in pod ${other.pod} and ${shortDigest(digest)} in pod ${metadata.name}: its tag was moved; deploy by digest`;
    }
  }
  return null;
}

function cut(text: string): string {
  return text.slice(0, MAX_LENGTH);
}
