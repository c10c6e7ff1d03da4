import { randomUUID } from 'node:crypto';
import type { JournalEntry, GatewayError, GatewayObject, GatewayWrite, ObjectKind } from '../../formats/gateway.js';

/** What a request to the memory gateway comes to instead of its answer, or null: the answer. */
export type MemoryFault = (request: {
  readonly method: string;
  readonly path: string;
}) => Response | null | Promise<Response | null>;

/**
 * The gateway's admin API in memory: revisions, conditional writes, owners and a journal, with arms that are ready at
 * once. The real adapter runs over it, so that workflow tests go through the real fences without a single process.
 */
export interface MemoryGateway {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly journal: readonly JournalEntry[];
  /** Versions (`hello:v2`) whose replicas never come up. */
  readonly neverReady: Set<string>;
  /** Asked before each request. */
  fault: MemoryFault | null;
  /** Free places for replicas. */
  maxReplicas: number;
  object(kind: ObjectKind, name: string): GatewayObject | null;
  /** A change by somebody else: keeps all annotations, as a forced sync of another tool does. */
  meddle(kind: ObjectKind, name: string, change: (spec: never) => unknown): void;
}

let count = 0;

export function createMemoryGateway(): MemoryGateway {
  count += 1;
  const objects = new Map<string, GatewayObject>();
  const journal: JournalEntry[] = [];
  const gone = new Set<string>();
  const neverReady = new Set<string>();
  let revision = 0;

  function statusOf(spec: { template: { version: string }; replicas: number }) {
    const failed = neverReady.has(spec.template.version);
    const replicas: { pid: number | null; port: number; state: 'ready' }[] = [];
    return {
      ready: failed ? 0 : spec.replicas,
      old: 0,
      failed,
      message: failed ? 'exited with code 1' : null,
      replicas,
    };
  }

  function note(
    verb: JournalEntry['verb'],
    object: GatewayObject,
    credit: { key: string | null; fence: string | null },
  ): void {
    const { environment, service, kind, name } = object;
    const change = kind === 'route' ? `weights ${Object.values(object.spec.weights).join('/')}` : verb;
    journal.push({
      seq: journal.length + 1,
      at: new Date().toISOString(),
      verb,
      environment,
      service,
      kind,
      name,
      revision,
      ...credit,
      change,
    });
  }

  function put(
    path: string,
    write: GatewayWrite,
    uid: string,
    verb: 'create' | 'replace',
    credit: { key: string | null; fence: string | null },
  ): GatewayObject {
    const [environment = '', service = '', kind = '', name = ''] = path.split('/').slice(3).map(decodeURIComponent);
    revision += 1;
    const { spec, annotations, owner } = write;
    const status = kind === 'arm' ? { status: statusOf(spec as never) } : {};
    const object = {
      environment,
      service,
      kind,
      name,
      revision,
      uid,
      owner,
      annotations,
      spec,
      ...status,
    } as GatewayObject;
    objects.set(path, object);
    note(verb, object, credit);
    if (owner !== null && gone.has(owner)) drop(path, 'collect', { key: null, fence: null });
    return object;
  }

  function drop(path: string, verb: 'delete' | 'collect', credit: { key: string | null; fence: string | null }): void {
    const object = objects.get(path);
    if (object === undefined) return;
    objects.delete(path);
    revision += 1;
    note(verb, object, credit);
    if (object.kind !== 'anchor') return;
    gone.add(object.uid);
    for (const [other, { owner }] of objects)
      if (owner === object.uid) drop(other, 'collect', { key: null, fence: null });
  }

  function live(object: GatewayObject): GatewayObject {
    return object.kind === 'arm' ? { ...object, status: statusOf(object.spec) } : object;
  }

  async function answer(url: URL, init: RequestInit): Promise<Response> {
    const method = init.method ?? 'GET';
    const faulty = await gateway.fault?.({ method, path: url.pathname });
    if (faulty != null) return faulty;
    init.signal?.throwIfAborted();
    const { pathname: path, searchParams } = url;
    if (path === '/v1/capacity') {
      const used = [...objects.values()].reduce(
        (sum, object) => sum + (object.kind === 'arm' ? object.spec.replicas : 0),
        0,
      );
      return json(200, { maxReplicas: gateway.maxReplicas, used });
    }
    if (path === '/v1/objects') {
      const wanted = [...searchParams.entries()];
      const list = [...objects.values()].filter((object) =>
        wanted.every(([name, value]) => object[name as 'service'] === value),
      );
      return json(200, { objects: list.map(live) });
    }
    const headers = new Headers(init.headers);
    const credit = { key: headers.get('slipway-key'), fence: headers.get('slipway-fence') };
    const held = objects.get(path);
    if (method === 'POST') {
      if (held !== undefined) return refusal(409, 'AlreadyExists', `there is ${path} already`);
      return json(201, live(put(path, JSON.parse(String(init.body)) as GatewayWrite, randomUUID(), 'create', credit)));
    }
    if (held === undefined) return refusal(404, 'NotFound', `there is no ${path}`);
    if (String(held.revision) !== searchParams.get('revision')) return refusal(409, 'Conflict', `${path} has changed`);
    if (method === 'DELETE') {
      drop(path, 'delete', credit);
      return json(200, live(held));
    }
    return json(200, live(put(path, JSON.parse(String(init.body)) as GatewayWrite, held.uid, 'replace', credit)));
  }

  const find = (kind: ObjectKind, name: string): [string, GatewayObject] | undefined =>
    [...objects].find(([, object]) => object.kind === kind && object.name === name);

  const gateway: MemoryGateway = {
    url: `http://memory-${count}`,
    fetch: (input, init) => answer(new URL(input as string), init ?? {}),
    journal,
    neverReady,
    fault: null,
    maxReplicas: 100,
    object: (kind, name) => find(kind, name)?.[1] ?? null,
    meddle(kind, name, change) {
      const [path, object] = find(kind, name) ?? [];
      if (path === undefined || object === undefined) throw new Error(`there is no ${kind} ${name}`);
      revision += 1;
      objects.set(path, { ...object, revision, spec: change(object.spec as never) } as GatewayObject);
    },
  };
  return gateway;
}

/** An error as the gateway says it. */
export function refusal(status: number, reason: GatewayError['reason'], message: string): Response {
  return json(status, { reason, message });
}

function json(status: number, body: unknown): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } });
}
