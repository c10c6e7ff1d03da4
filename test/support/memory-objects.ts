import { Unavailable } from '../../activities/failures.js';
import type { ObjectStore } from '../../activities/objects/object-store.js';

/** Objects in memory, for tests: `objects` can be looked at, changed, and taken away. */
export interface MemoryObjects extends ObjectStore {
  readonly objects: Map<string, Buffer>;
  /** Nothing can be kept. */
  away: boolean;
}

export function createMemoryObjects(): MemoryObjects {
  const objects = new Map<string, Buffer>();
  const sorted = (): string[] => [...objects.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  const memory: MemoryObjects = {
    objects,
    away: false,
    async create(key, text) {
      if (memory.away) throw new Unavailable('a test has taken it away');
      if (objects.has(key)) return 'exists';
      objects.set(key, Buffer.from(text));
      return 'created';
    },
    read: async (key) => objects.get(key) ?? null,
    keys: async (prefix, after = '') => sorted().filter((key) => key.startsWith(prefix) && key > after),
    async folders(prefix) {
      const below = sorted().filter((key) => key.startsWith(prefix) && key.slice(prefix.length).includes('/'));
      return [...new Set(below.map((key) => key.slice(prefix.length).split('/')[0] ?? ''))];
    },
    check: async () => undefined,
  };
  return memory;
}
