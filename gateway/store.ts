import { randomUUID } from 'node:crypto';
import { canonicalJson } from '../domain/canonical.js';
import { openJournal, objectPath } from './journal-file.js';
import { ARM_NAMES } from './validate.js';
import type { GatewayError, JournalEntry } from '../formats/gateway.js';
import type { JournalRecord, ObjectRef, StoredObject } from './journal-file.js';
import type { CheckedWrite } from './validate.js';

/** On whose word a write is done: kept in the journal. */
export interface Credit {
  readonly key: string | null;
  readonly fence: string | null;
}

export type StoreResult =
  | { readonly kind: 'done'; readonly object: StoredObject }
  | { readonly kind: 'refused'; readonly reason: GatewayError['reason']; readonly message: string };

export interface ListFilter {
  readonly environment?: string | undefined;
  readonly service?: string | undefined;
  readonly kind?: string | undefined;
}

/** What a change left behind: null when the object is gone. */
export type ChangeListener = (ref: ObjectRef, object: StoredObject | null) => void;

/** The objects and their journal. Reads see only what is on disk; writes happen one after the other. */
export interface Store {
  get(ref: ObjectRef): StoredObject | null;
  list(filter: ListFilter): readonly StoredObject[];
  journal(since: number): readonly JournalEntry[];
  create(ref: ObjectRef, write: CheckedWrite, credit: Credit): Promise<StoreResult>;
  replace(ref: ObjectRef, revision: number, write: CheckedWrite, credit: Credit): Promise<StoreResult>;
  remove(ref: ObjectRef, revision: number, credit: Credit): Promise<StoreResult>;
  close(): Promise<void>;
}

/** Opens the store; `onChange` is told of every change once it is durable, and of all objects that are there at start. */
export async function openStore(path: string, onChange: ChangeListener): Promise<Store> {
  const { file, records } = await openJournal(path);
  const objects = new Map<string, StoredObject>();
  const entries: JournalEntry[] = [];
  for (const record of records) remember(record);
  for (const object of objects.values()) onChange(object, object);

  let tail: Promise<unknown> = Promise.resolve();
  /** Writes stand in line: each decides on what the one before has left on disk. */
  function inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = tail.then(task);
    tail = result.catch(() => undefined);
    return result;
  }

  function remember({ entry, object }: JournalRecord): void {
    entries.push(entry);
    if (object) objects.set(objectPath(entry), object);
    else if (object === null) objects.delete(objectPath(entry));
  }

  /** Revisions and journal numbers are one counter: every change of anything is one entry. */
  function lastRevision(): number {
    return entries.at(-1)?.seq ?? 0;
  }

  async function commit(drafts: readonly Draft[], credit: Credit): Promise<void> {
    const at = new Date().toISOString();
    const added = drafts.map(({ verb, ref, object, change }, index): JournalRecord => {
      const seq = lastRevision() + 1 + index;
      const { environment, service, kind, name } = ref;
      const head = { seq, at, verb, environment, service, kind, name, revision: seq };
      const by = verb === 'collect' ? { key: null, fence: null } : credit;
      return { entry: { ...head, ...by, change }, object: object && { ...object, revision: seq } };
    });
    await file.append(added);
    for (const record of added) {
      remember(record);
      onChange(record.entry, record.object ?? null);
    }
  }

  /** All that must go because its owner is gone, and the owner of that, and so on. */
  function orphans(alive: ReadonlyMap<string, StoredObject>): Draft[] {
    const uids = new Set([...alive.values()].map((object) => object.uid));
    const lost = [...alive].filter(([, object]) => object.owner !== null && !uids.has(object.owner));
    if (lost.length === 0) return [];
    const rest = new Map(alive);
    for (const [path] of lost) rest.delete(path);
    const drafts = lost.map(([, object]): Draft => ({
      verb: 'collect',
      ref: object,
      object: null,
      change: 'its owner is gone',
    }));
    return [...drafts, ...orphans(rest)];
  }

  function refuseWeights(ref: ObjectRef, write: CheckedWrite): StoreResult | null {
    if (write.kind !== 'route') return null;
    const { weights } = write.spec;
    const missing = ARM_NAMES.find(
      (arm) => weights[arm] > 0 && !objects.has(objectPath({ ...ref, kind: 'arm', name: arm })),
    );
    if (missing === undefined) return null;
    return refused(
      'Invalid',
      `spec.weights.${missing} is ${weights[missing]}: there is no arm ${missing}, create it first`,
    );
  }

  function create(ref: ObjectRef, write: CheckedWrite, credit: Credit): Promise<StoreResult> {
    return inTurn(async () => {
      if (objects.has(objectPath(ref)))
        return refused('AlreadyExists', `${objectPath(ref)} is there already: replace it`);
      const no = refuseWeights(ref, write);
      if (no) return no;
      const object = build(ref, write, lastRevision() + 1, randomUUID());
      const after = new Map(objects).set(objectPath(ref), object);
      // A late create, after its owner was deleted, is collected in the same breath: its processes never start.
      await commit([{ verb: 'create', ref, object, change: describe(null, object) }, ...orphans(after)], credit);
      return { kind: 'done', object };
    });
  }

  function replace(ref: ObjectRef, revision: number, write: CheckedWrite, credit: Credit): Promise<StoreResult> {
    return inTurn(async () => {
      const held = objects.get(objectPath(ref));
      const no = refuseRevision(ref, held, revision) ?? refuseWeights(ref, write);
      if (no) return no;
      const before = held as StoredObject;
      const object = build(ref, write, lastRevision() + 1, before.uid);
      if (canonicalJson({ ...object, revision }) === canonicalJson(before)) return { kind: 'done', object: before };
      const after = new Map(objects).set(objectPath(ref), object);
      await commit([{ verb: 'replace', ref, object, change: describe(before, object) }, ...orphans(after)], credit);
      return { kind: 'done', object };
    });
  }

  function remove(ref: ObjectRef, revision: number, credit: Credit): Promise<StoreResult> {
    return inTurn(async () => {
      const held = objects.get(objectPath(ref));
      const no = refuseRevision(ref, held, revision);
      if (no) return no;
      const after = new Map(objects);
      after.delete(objectPath(ref));
      await commit([{ verb: 'delete', ref, object: null, change: 'deleted' }, ...orphans(after)], credit);
      return { kind: 'done', object: held as StoredObject };
    });
  }

  // A kill between a delete and its collections, inside one write to the file, is made good here.
  const left = orphans(objects);
  if (left.length > 0) await commit(left, { key: null, fence: null });

  return {
    get: (ref) => objects.get(objectPath(ref)) ?? null,
    list: (filter) =>
      [...objects.values()].filter(
        ({ environment, service, kind }) =>
          (filter.environment ?? environment) === environment &&
          (filter.service ?? service) === service &&
          (filter.kind ?? kind) === kind,
      ),
    // Entries are numbered without gaps from 1.
    journal: (since) => entries.slice(Math.max(0, since)),
    create,
    replace,
    remove,
    close: () => inTurn(() => file.close()),
  };
}

interface Draft {
  readonly verb: JournalEntry['verb'];
  readonly ref: ObjectRef;
  readonly object: StoredObject | null;
  readonly change: string;
}

function refused(reason: GatewayError['reason'], message: string): StoreResult {
  return { kind: 'refused', reason, message };
}

function refuseRevision(ref: ObjectRef, held: StoredObject | undefined, revision: number): StoreResult | null {
  if (held === undefined) return refused('NotFound', `there is no ${objectPath(ref)}`);
  if (held.revision === revision) return null;
  return refused('Conflict', `${objectPath(ref)} is at revision ${held.revision}, not ${revision}: read it again`);
}

function build(ref: ObjectRef, write: CheckedWrite, revision: number, uid: string): StoredObject {
  const { environment, service, name } = ref;
  return { ...write, environment, service, name, revision, uid };
}

/** What changed, in a few words for people. */
function describe(before: StoredObject | null, after: StoredObject): string {
  if (before !== null && canonicalJson(before.spec) === canonicalJson(after.spec)) {
    if (before.owner !== after.owner) return after.owner === null ? 'no owner any more' : `owner ${after.owner}`;
    const keys = new Set([...Object.keys(before.annotations), ...Object.keys(after.annotations)]);
    const changed = [...keys].filter((key) => before.annotations[key] !== after.annotations[key]);
    return `annotations ${changed.join(', ')}`;
  }
  switch (after.kind) {
    case 'route': {
      const { stable, canary, baseline } = after.spec.weights;
      return `weights ${stable}/${canary}/${baseline}`;
    }
    case 'arm':
      return `${after.spec.replicas} x ${after.spec.template.version}`;
    case 'anchor':
      return `spec ${Object.keys(after.spec).join(', ')}`;
  }
}
