import { setTimeout as sleep } from 'node:timers/promises';

import { mayPass, type KubeClient, type KubeList, type KubeObject } from './kube-client.js';

/** Is told what there is in a collection; the same state may be told again. */
export interface Observer<T> {
  /** There is an object, or it has changed. */
  present(object: T): void;
  /** There is no such object any more. */
  gone(uid: string): void;
}

interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T;
}

const RETRY_MS = 200;

/**
 * Tells the observer all objects of a collection, such as `/api/v1/pods`, and every change of them, until the signal.
 * While the server can't be reached it keeps asking; it throws when the server refuses to tell.
 */
export async function follow<T extends KubeObject>(
  client: KubeClient,
  collection: string,
  observer: Observer<T>,
  signal: AbortSignal,
): Promise<void> {
  let known = new Set<string>();

  async function listThenWatch(): Promise<void> {
    const { metadata, items } = await client.request<KubeList<T>>('GET', collection);
    const listed = new Set(items.map(uidOf));
    for (const uid of known) if (!listed.has(uid)) observer.gone(uid);
    known = listed;
    for (const item of items) observer.present(item);

    let version: string | undefined = metadata.resourceVersion;
    while (version !== undefined && !signal.aborted) version = await watchFrom(version);
  }

  /** Watches until the server ends it, and returns where to go on; undefined when only a new list will do. */
  async function watchFrom(from: string): Promise<string | undefined> {
    const query = `watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=${from}`;
    let version = from;
    for await (const line of client.stream(`${collection}?${query}`, signal)) {
      const { type, object } = JSON.parse(line) as WatchEvent<T>;
      if (type === 'ERROR') return undefined;
      version = object.metadata.resourceVersion ?? version;
      if (type === 'BOOKMARK') continue;
      if (type === 'DELETED') {
        known.delete(uidOf(object));
        observer.gone(uidOf(object));
      } else {
        known.add(uidOf(object));
        observer.present(object);
      }
    }
    return version;
  }

  while (!signal.aborted) {
    try {
      await listThenWatch();
    } catch (error) {
      if (signal.aborted) return;
      if (!mayPass(error)) throw error;
      await sleep(RETRY_MS);
    }
  }
}

function uidOf({ metadata }: KubeObject): string {
  return metadata.uid ?? '';
}
