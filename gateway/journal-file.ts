import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { GatewayObject, JournalEntry } from '../formats/gateway.js';
import { codeOf, GatewayStartError, messageOf } from './errors.js';
import type { AnchorObject, ArmObject, RouteObject } from '../formats/gateway.js';

/** An object as it is kept: an arm's status is observed, never stored. */
export type StoredArm = Omit<ArmObject, 'status'>;
export type StoredObject = AnchorObject | StoredArm | RouteObject;

const [anchor, arm, route] = GatewayObject.options;
const StoredObject = z.discriminatedUnion('kind', [anchor, arm.omit({ status: true }), route]);

/** One line of the file: what was done, and the object as it is since then (null once it is gone). */
const JournalRecord = z.object({ entry: JournalEntry, object: StoredObject.nullable().optional() });
export type JournalRecord = z.infer<typeof JournalRecord>;

export interface JournalFile {
  /** Resolves when the records are on disk. After a failure none of them is. */
  append(records: readonly JournalRecord[]): Promise<void>;
  close(): Promise<void>;
}

/** From this size on the file is rewritten at start without the former contents of objects. */
const COMPACT_FROM_BYTES = 16 * 1024 * 1024;

/**
 * Opens the one file that holds both the journal and the state. The state is what its records add up to, so the two
 * can't disagree, whatever moment the gateway is killed at.
 *
 * @throws GatewayStartError when a line other than a torn last one can't be read.
 */
export async function openJournal(path: string): Promise<{ file: JournalFile; records: readonly JournalRecord[] }> {
  const bytes = await readFile(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return Buffer.alloc(0);
    throw error;
  });
  // A kill in mid-write leaves a torn last line. Nobody was answered for it, so it is cut off.
  let length = bytes.lastIndexOf(0x0a) + 1;
  const records = parseRecords(path, bytes.toString('utf8', 0, length));
  if (length > COMPACT_FROM_BYTES) length = await compact(path, records);

  const handle = await open(path, 'a');
  await handle.truncate(length);
  await handle.sync();
  await syncDirectory(dirname(path));

  async function append(added: readonly JournalRecord[]): Promise<void> {
    const text = added.map((record) => `${JSON.stringify(record)}\n`).join('');
    try {
      await handle.appendFile(text);
      await handle.datasync();
    } catch (error) {
      // Disk full, say. Half a record must not stand before the next one.
      await handle.truncate(length);
      throw error;
    }
    length += Buffer.byteLength(text);
  }
  return { file: { append, close: () => handle.close() }, records };
}

function parseRecords(path: string, text: string): JournalRecord[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line, index) => {
      try {
        return JournalRecord.parse(JSON.parse(line));
      } catch (error) {
        throw new GatewayStartError(
          `${path}, line ${index + 1}, can't be read (${messageOf(error)}): restore the file, or start with an empty --state-dir`,
        );
      }
    });
}

/** Keeps every entry, but of each object only the last content. Returns the new length. */
async function compact(path: string, records: readonly JournalRecord[]): Promise<number> {
  const last = new Map(records.map(({ entry }) => [objectPath(entry), entry.seq]));
  const text = records
    .map((record) => (last.get(objectPath(record.entry)) === record.entry.seq ? record : { entry: record.entry }))
    .map((record) => `${JSON.stringify(record)}\n`)
    .join('');
  const temporary = `${path}.new`;
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  return Buffer.byteLength(text);
}

/** A new name is durable once its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What names an object: `prod/hello/arm/canary`. */
export interface ObjectRef {
  readonly environment: string;
  readonly service: string;
  readonly kind: GatewayObject['kind'];
  readonly name: string;
}

export function objectPath({ environment, service, kind, name }: ObjectRef): string {
  return `${environment}/${service}/${kind}/${name}`;
}
