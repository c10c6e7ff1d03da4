import { createHash } from 'node:crypto';
import { z } from 'zod';
import { isDigest } from '../../domain/image-reference.js';
import type { ImageReference } from '../../domain/image-reference.js';
import { pause } from '../waiting.js';
import { parseChallenges } from './challenge.js';
import { DockerConfigUnusable } from './docker-config.js';
import type { DockerConfig, Login } from './docker-config.js';
import type { ImageAnswer, ImageRegistry } from './image-registry.js';
import { NoAnswer, send, unexpected } from './transport.js';
import type { Answer } from './transport.js';

export interface HttpRegistryOptions {
  /** The worker's logins. Asked anew each time, for such files are rotated. @throws DockerConfigUnusable */
  readonly logins: () => Promise<DockerConfig>;
  /** Registries, `host:port` as in references, that speak plain http. This machine's own always do. */
  readonly insecure: readonly string[];
  /** Limit for one question with all its calls, waits and repetitions, ms. */
  readonly timeoutMs: number;
  /** @default the global one */
  readonly fetch?: typeof fetch;
}

/** What a tag may name: an index of several platforms' images, or one image. */
const MANIFESTS = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
/** Larger manifests are refused by registries too (distribution specification, "Pushing Manifests"). */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_TOKEN_BYTES = 64 * 1024;
const MAX_REDIRECTS = 3;
const MAX_TRIES = 3;
const RETRY_MS = 200;

const Errors = z.object({ errors: z.array(z.looseObject({ code: z.string() })).min(1) });
const VisibleText = z.string().regex(/^[\x21-\x7E]+$/);
const Token = z.union([
  z.looseObject({ token: VisibleText }).transform(({ token }) => token),
  z.looseObject({ access_token: VisibleText }).transform(({ access_token }) => access_token),
]);

/**
 * Registries that speak the OCI distribution protocol (github.com/opencontainers/distribution-spec), with the token flow
 * of the distribution project.
 */
export function createHttpRegistry(options: HttpRegistryOptions): ImageRegistry {
  const { logins, insecure, timeoutMs } = options;
  return {
    async resolve(reference, signal) {
      const endMs = Date.now() + timeoutMs;
      const limit = AbortSignal.timeout(timeoutMs);
      const question: Question = {
        reference,
        url: manifestUrl(reference, insecure),
        logins,
        fetch: options.fetch ?? fetch,
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      };
      for (let tries = 1; ; tries++) {
        try {
          return await ask(question);
        } catch (error) {
          if (!(error instanceof NoAnswer)) throw error;
          const { kind, message, retryMs } = error;
          const waitMs = Math.max(RETRY_MS * tries, retryMs ?? 0);
          if (retryMs === null || tries === MAX_TRIES || Date.now() + waitMs >= endMs) {
            const reason = kind === 'unauthorised' ? `${message}: ${await sayingOfLogin(question)}` : message;
            return { kind, reason };
          }
          await pause(waitMs, signal ?? limit);
        }
      }
    },
  };
}

interface Question {
  readonly reference: ImageReference;
  readonly url: URL;
  readonly logins: HttpRegistryOptions['logins'];
  readonly fetch: typeof fetch;
  readonly signal: AbortSignal;
}

/** Where Docker Hub's registry is, which its images don't name. */
const API_HOSTS: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' };

function manifestUrl({ registry, repository, tag }: ImageReference, insecure: readonly string[]): URL {
  const ownMachine = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(registry);
  const scheme = ownMachine || insecure.includes(registry) ? 'http' : 'https';
  return new URL(`${scheme}://${API_HOSTS[registry] ?? registry}/v2/${repository}/manifests/${tag ?? 'latest'}`);
}

/** @throws NoAnswer */
async function ask(question: Question): Promise<ImageAnswer> {
  const { url, reference, signal, fetch } = question;
  let authorization: string | null = null;
  async function call(method: 'GET' | 'HEAD'): Promise<Answer> {
    const once = (): Promise<Answer> =>
      send({
        fetch,
        method,
        url,
        authorization,
        signal,
        accept: MANIFESTS.join(', '),
        maxBytes: MAX_MANIFEST_BYTES,
        maxRedirects: MAX_REDIRECTS,
      });
    const answer = await once();
    if (answer.status !== 401 || authorization !== null) return answer;
    authorization = await authorize(question, answer);
    return once();
  }

  const head = await call('HEAD');
  const said = head.status === 200 ? digestHeader(head) : null;
  if (said !== null) return { kind: 'resolved', digest: said };
  // Registries may know no HEAD or say no digest there, and only a body tells "no such image" from "no such page".
  if (![200, 400, 404, 405, 501].includes(head.status)) throw unexpected(head);
  const answer = await call('GET');
  if (answer.status === 404) return missing(answer, reference);
  if (answer.status !== 200) throw unexpected(answer);
  return { kind: 'resolved', digest: digestOfManifest(answer) };
}

function digestHeader({ headers }: Answer): string | null {
  const digest = headers.get('docker-content-digest');
  return digest !== null && isDigest(digest) ? digest : null;
}

/** The digest of what was sent, which must be what the registry says of it. */
function digestOfManifest(answer: Answer): string {
  const { host } = answer.url;
  const [type = ''] = (answer.headers.get('content-type') ?? '').split(';');
  if (!MANIFESTS.includes(type.trim()))
    throw new NoAnswer('unreachable', `${host} does not answer as a registry: it sends no manifest`);
  const said = digestHeader(answer);
  const [algorithm = ''] = (said ?? 'sha256').split(':');
  const digest = `${algorithm}:${createHash(algorithm).update(answer.body).digest('hex')}`;
  if (said !== null && said !== digest)
    throw new NoAnswer('unreachable', `${host} contradicts itself: the manifest is not of the digest that it says`);
  return digest;
}

/** @throws NoAnswer unless it is a registry that says so */
function missing(answer: Answer, { repository, tag }: ImageReference): ImageAnswer {
  const { host } = answer.url;
  const errors = Errors.safeParse(jsonOf(answer.body));
  if (!errors.success)
    throw new NoAnswer('unreachable', `${host} does not answer as a registry: it answered 404 without a reason`);
  const noRepository = errors.data.errors.some(({ code }) => code === 'NAME_UNKNOWN');
  return {
    kind: 'missing',
    reason: noRepository ? `${host} has no repository ${repository}` : `${host} has no tag ${tag} of ${repository}`,
  };
}

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    // Not JSON: a proxy's page, say. The caller says what that means.
    return null;
  }
}

/**
 * The `Authorization` header that a registry asks for: Basic, or a token of the place that it names.
 * @throws NoAnswer
 */
async function authorize(question: Question, refusal: Answer): Promise<string> {
  const { url } = question;
  const { host } = refusal.url;
  if (refusal.url.origin !== url.origin)
    throw new NoAnswer('unauthorised', `${url.host} redirects to ${host}, which asks for a login`);
  const challenges = parseChallenges(refusal.headers.get('www-authenticate') ?? '');
  const login = await loginOf(question);
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  if (bearer !== undefined) return `Bearer ${await fetchToken(question, bearer.parameters, login)}`;
  if (login?.kind === 'login' && challenges.some(({ scheme }) => scheme === 'basic')) return basic(login);
  throw unexpected(refusal);
}

async function loginOf({ reference, logins }: Question): Promise<Login> {
  try {
    return (await logins()).loginFor(reference.registry);
  } catch (error) {
    if (!(error instanceof DockerConfigUnusable)) throw error;
    return { kind: 'unusable', reason: error.message };
  }
}

async function sayingOfLogin(question: Question): Promise<string> {
  const login = await loginOf(question);
  const { registry } = question.reference;
  if (login === null) return `the worker has no login for ${registry}`;
  return login.kind === 'unusable' ? login.reason : `the worker's login for ${registry} does not suffice`;
}

function basic({ username, password }: Extract<Login, { kind: 'login' }>): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** A token, for whoever logs in or for anyone. */
async function fetchToken(
  { url, reference, signal, fetch }: Question,
  { realm = '', service, scope = `repository:${reference.repository}:pull` }: Readonly<Record<string, string>>,
  login: Login,
): Promise<string> {
  const address = URL.canParse(realm) ? new URL(realm) : null;
  // What is asked for over a secure connection is not told over one that can be read on the way.
  if (address === null || (address.protocol !== 'https:' && address.protocol !== url.protocol))
    throw new NoAnswer('unauthorised', `${url.host} names no usable place to log in`);
  if (service !== undefined) address.searchParams.set('service', service);
  address.searchParams.set('scope', scope);
  const answer = await send({
    fetch,
    method: 'GET',
    url: address,
    authorization: login?.kind === 'login' ? basic(login) : null,
    signal,
    accept: 'application/json',
    maxBytes: MAX_TOKEN_BYTES,
    maxRedirects: 0,
  });
  if (answer.status === 200) {
    const token = Token.safeParse(jsonOf(answer.body));
    if (token.success) return token.data;
    throw new NoAnswer('unauthorised', `${address.host} gives no token`);
  }
  throw unexpected(answer);
}
