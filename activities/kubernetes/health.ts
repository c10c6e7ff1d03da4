/** What pods and endpoints say of an arm's health: pure functions. */
import { z } from 'zod';
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

const State = z.looseObject({
  waiting: z.looseObject({ reason: z.string().optional(), message: z.string().optional() }).optional(),
  terminated: z.looseObject({ reason: z.string().optional(), exitCode: z.int().optional() }).optional(),
});
const PodStatus = z.looseObject({
  conditions: Conditions,
  containerStatuses: z
    .array(
      z.looseObject({
        name: z.string(),
        ready: z.boolean().default(false),
        restartCount: z.int().default(0),
        state: State.optional(),
      }),
    )
    .default([]),
});

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

function cut(text: string): string {
  return text.slice(0, MAX_LENGTH);
}
