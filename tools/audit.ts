/** The API server's audit log as ground truth: who applied what, and how often (durability-notes.md, section 2). */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

const Meta = z.looseObject({
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
const Event = z.looseObject({
  auditID: z.string(),
  stage: z.string(),
  /** When it was answered. */
  stageTimestamp: z.string(),
  verb: z.string(),
  requestURI: z.string(),
  user: z.looseObject({ username: z.string() }),
  objectRef: z
    .looseObject({
      resource: z.string().optional(),
      namespace: z.string().optional(),
      name: z.string().optional(),
      subresource: z.string().optional(),
    })
    .optional(),
  responseStatus: z.looseObject({ code: z.number().optional() }).optional(),
  requestObject: z.looseObject({ metadata: Meta.optional() }).optional().catch(undefined),
  responseObject: z.looseObject({ metadata: Meta.optional() }).optional().catch(undefined),
});

/** One write that changed an object. */
export interface AppliedWrite {
  /** As the client has named its request by the header `Audit-ID`; else the server's own id of it. */
  readonly auditId: string;
  /** When it was answered, ms since the epoch. */
  readonly atMs: number;
  readonly verb: string;
  readonly user: string;
  /** What the client called itself for this write; null where it did not. */
  readonly manager: string | null;
  /** `deployments/hello`. */
  readonly object: string;
  /** The idempotency key that the request carried and the object did not have before; null for writes of others. */
  readonly key: string | null;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** Who writes effects; what is written by others carries the key along. */
const EFFECT_MANAGER = 'slipway';

/**
 * All writes in a namespace that changed something, in order for each object. A key counts where the request carries it
 * and the object had another one: an object keeps its key through writes that mean something else, which raise its fence
 * or are not Slipway's. An effect that was written twice has both.
 */
export async function appliedWrites(auditLog: string, namespace: string): Promise<readonly AppliedWrite[]> {
  const lines = (await readFile(auditLog, 'utf8')).split('\n').filter((line) => line.includes(`"${namespace}"`));
  const found: AppliedWrite[] = [];
  /** The state of each object, by uid, after the last write that was seen. */
  const last = new Map<string, { resourceVersion: string; key: string | null; fence: string | null }>();
  for (const line of lines) {
    // The last line may not be written to its end.
    const event = Event.safeParse(jsonOf(line)).data;
    if (event === undefined || event.stage !== 'ResponseComplete' || event.objectRef?.namespace !== namespace) continue;
    if ((event.responseStatus?.code ?? 500) >= 300 || event.requestURI.includes('dryRun=')) continue;
    const { auditID: auditId } = event;
    const manager = new URLSearchParams(event.requestURI.split('?')[1]).get('fieldManager');
    const atMs = Date.parse(event.stageTimestamp);
    const { resource = '', name, subresource } = event.objectRef;
    const meta = event.responseObject?.metadata;
    const object = `${resource}/${name ?? 'new'}`;
    if (subresource !== undefined) continue;
    if (event.verb === 'delete') {
      const { username: user } = event.user;
      const uid = meta?.uid ?? '';
      found.push({ auditId, atMs, verb: 'delete', user, manager, object, key: null, uid, resourceVersion: '' });
      continue;
    }
    if (meta?.uid === undefined || meta.resourceVersion === undefined) continue;
    const before = last.get(meta.uid);
    const annotations = event.requestObject?.metadata?.annotations ?? {};
    const { 'slipway.dev/key': carried = null, 'slipway.dev/fence': fence = null } = annotations;
    last.set(meta.uid, {
      resourceVersion: meta.resourceVersion,
      key: carried ?? before?.key ?? null,
      fence: fence ?? before?.fence ?? null,
    });
    if (before?.resourceVersion === meta.resourceVersion) continue;
    found.push({
      auditId,
      atMs,
      verb: event.verb,
      user: event.user.username,
      manager,
      object,
      key: carried === before?.key && (manager !== EFFECT_MANAGER || fence !== before?.fence) ? null : carried,
      uid: meta.uid,
      resourceVersion: meta.resourceVersion,
    });
  }
  return found;
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    // Torn: the schema takes it for no event.
    return undefined;
  }
}
