/**
 * Names of container images, `name[:tag][@digest]`, by the grammar of the distribution project
 * (github.com/distribution/reference) and with the defaults that container runtimes fill in.
 */

/** A reference with everything said that may be left out. */
export interface ImageReference {
  /** Host of the registry, with its port where one is written: `docker.io`, `localhost:5000`. */
  readonly registry: string;
  /** Path below the registry: `library/hello`. */
  readonly repository: string;
  /** Null where a digest stands alone; `latest` where neither is written. */
  readonly tag: string | null;
  /** `sha256:…`; null where the reference names no bytes. */
  readonly digest: string | null;
}

export type ParsedReference =
  | { readonly ok: true; readonly reference: ImageReference }
  | {
      readonly ok: false;
      /** The part that is wrong. */
      readonly field: 'name' | 'registry' | 'repository' | 'tag' | 'digest';
      /** What is written there. */
      readonly value: string;
      /** What to write instead. */
      readonly remedy: string;
    };

/** What a host that is not written means, and the namespace of its official images. */
const DEFAULT_REGISTRY = 'docker.io';
const OFFICIAL = 'library/';
/** The former name of Docker Hub, which old files still use. */
const FORMER_REGISTRY = 'index.docker.io';
const MAX_REPOSITORY_LENGTH = 255;
/** Hex digits of each algorithm that runtimes know. */
const DIGEST_LENGTHS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

const HOST =
  /^(?:(?:[a-z\d]|[a-z\d][a-z\d-]*[a-z\d])(?:\.(?:[a-z\d]|[a-z\d][a-z\d-]*[a-z\d]))*|\[[a-f\d:]+\])(?::\d+)?$/i;
const REPOSITORY = /^[a-z\d]+(?:(?:[._]|__|-+)[a-z\d]+)*(?:\/[a-z\d]+(?:(?:[._]|__|-+)[a-z\d]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;

/** Whether a text is a digest of a known algorithm, such as a registry must send. */
export function isDigest(text: string): boolean {
  const [, algorithm = '', hex = ''] = /^([a-z\d]+):([a-f\d]+)$/.exec(text) ?? [];
  return Object.hasOwn(DIGEST_LENGTHS, algorithm) && hex.length === DIGEST_LENGTHS[algorithm];
}

/** Reads a reference as a container runtime does. */
export function parseImageReference(text: string): ParsedReference {
  const { name, tag, digest } = splitReference(text);
  const wrong = (field: Extract<ParsedReference, { ok: false }>['field'], value: string, remedy: string) =>
    ({ ok: false, field, value, remedy }) as const;
  if (name === '') return wrong('name', text, 'write it in full, as in registry.example.com/team/hello:v2');
  if (tag !== null && !TAG.test(tag))
    return wrong('tag', tag, 'write letters, digits, _ . and -, 128 characters at most, not beginning with . or -');
  if (digest !== null && !isDigest(digest))
    return wrong('digest', digest, 'write sha256: and 64 lower-case hex digits, as the registry shows it');

  const { registry, path } = splitRegistry(name);
  if (!HOST.test(registry)) return wrong('registry', registry, 'write a host, and its port if need be: localhost:5000');
  const repository = registry === DEFAULT_REGISTRY && !path.includes('/') ? `${OFFICIAL}${path}` : path;
  if (!REPOSITORY.test(repository))
    return wrong('repository', path, 'write lower-case letters and digits, with single . or _, __ or - between them');
  if (repository.length > MAX_REPOSITORY_LENGTH)
    return wrong('repository', path, `write ${MAX_REPOSITORY_LENGTH} characters at most`);
  return {
    ok: true,
    reference: { registry, repository, tag: tag ?? (digest === null ? 'latest' : null), digest },
  };
}

/** The parts of a reference as they are written, right or wrong. A port is no tag. */
export function splitReference(text: string): {
  readonly name: string;
  readonly tag: string | null;
  readonly digest: string | null;
} {
  const at = text.indexOf('@');
  const plain = at < 0 ? text : text.slice(0, at);
  const colon = plain.lastIndexOf(':');
  const tagged = colon > plain.lastIndexOf('/');
  return {
    name: tagged ? plain.slice(0, colon) : plain,
    tag: tagged ? plain.slice(colon + 1) : null,
    digest: at < 0 ? null : text.slice(at + 1),
  };
}

/** The first part is a host if it can't be a folder: it has a dot, a port or a capital letter, or is `localhost`. */
function splitRegistry(name: string): { readonly registry: string; readonly path: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(0, slash));
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  if (slash < 0 || !isHost) return { registry: DEFAULT_REGISTRY, path: name };
  return { registry: first === FORMER_REGISTRY ? DEFAULT_REGISTRY : first, path: name.slice(slash + 1) };
}

/** The reference bound to bytes: the tag stays for people, the digest is what runs. */
export function withDigest(text: string, digest: string): string {
  const { name, tag } = splitReference(text);
  return `${name}:${tag ?? 'latest'}@${digest}`;
}
