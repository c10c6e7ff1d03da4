/** Texts by key, written once: what trails, records and (on S3) evidence are kept in. */
export interface ObjectStore {
  /**
   * Keeps a text under a key, whole or not at all, whoever is killed in between. Nothing is ever written over: `exists`
   * says that something is there already, whatever it is. @throws Unavailable, Refused
   */
  create(key: string, text: string): Promise<'created' | 'exists'>;
  /** Null where there is none. @throws Unavailable, Refused */
  read(key: string): Promise<Uint8Array | null>;
  /** All keys below a prefix that ends in `/`, in order; with `after`, those behind that one. */
  keys(prefix: string, after?: string): Promise<readonly string[]>;
  /** Names directly below a prefix that ends in `/` and have keys below them, in order. */
  folders(prefix: string): Promise<readonly string[]>;
  /** Proves at the start that the store can be used. @throws ObjectStoreUnusable, with the remedy */
  check(): Promise<void>;
}

/** The store can't be used as it is set up. The message names the setting and the remedy. */
export class ObjectStoreUnusable extends Error {
  override readonly name = 'ObjectStoreUnusable';
}

/**
 * The key made of these names. Each must be plain, so that no name leads out of its folder or means something to a file
 * system or to S3.
 * @throws RangeError
 */
export function keyOf(...names: readonly string[]): string {
  for (const name of names.flatMap((part) => part.split('/'))) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(name))
      throw new RangeError(`"${name}" can't be part of a key: letters, digits, _ . and - are wanted`);
  }
  return names.join('/');
}
