import { setTimeout as sleep } from 'node:timers/promises';
import { AwsClient } from 'aws4fetch';
import { Refused, Unavailable } from '../failures.js';
import { retryAfterMs } from '../retry-after.js';
import { ObjectStoreUnusable } from './object-store.js';
import type { ObjectStore } from './object-store.js';

/** Where a bucket is, and the key to it. */
export interface S3Config {
  readonly bucket: string;
  /** Names before each key, with `/` at the end; empty for none. */
  readonly prefix: string;
  /** Of an S3-compatible server, which is then asked for `/<bucket>/<key>`; null: AWS. */
  readonly endpoint: string | null;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | null;
  /** Limit for one try, ms. @default 4000 */
  readonly timeoutMs?: number;
}

const KEYS = /<Key>([^<]*)<\/Key>/g;

/** A call is tried so often within itself; whoever calls tries again after that. */
const TRIES = 3;
const FIRST_PAUSE_MS = 150;
/** What a server may ask to wait before it is left to the caller. */
const LONGEST_PAUSE_MS = 2000;

/** A bucket. Writes are conditional (`If-None-Match: *`): of two writers one wins, as with a folder. */
export function createS3Objects(config: S3Config): ObjectStore {
  const { bucket, prefix, endpoint, region, timeoutMs = 4000 } = config;
  const client = new AwsClient({
    accessKeyId: config.accessKeyId,
    secretAccessKey: config.secretAccessKey,
    ...(config.sessionToken === null ? {} : { sessionToken: config.sessionToken }),
    service: 's3',
    region,
    // Its own ones know nothing of time limits nor of Retry-After.
    retries: 0,
  });
  const base =
    endpoint !== null
      ? `${endpoint.replace(/\/+$/, '')}/${bucket}`
      : bucket.includes('.')
        ? `https://s3.${region}.amazonaws.com/${bucket}`
        : `https://${bucket}.s3.${region}.amazonaws.com`;
  const shown = `s3://${bucket}/${prefix}`;
  const urlOf = (key: string): string => `${base}/${prefix}${key}`;

  async function once(url: string, init: RequestInit, answers: readonly number[]): Promise<Answer> {
    let response: Response;
    let body: Uint8Array;
    try {
      response = await client.fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMs) });
      body = new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw new Unavailable(`${shown} can't be reached: ${reasonOf(error)}`, null, { cause: error });
    }
    if (answers.includes(response.status)) return { status: response.status, body };
    const { code, message } = errorOf(body);
    const said = `${shown} says ${response.status} ${code}${message === '' ? '' : `: ${message}`}`;
    // 409: another conditional write of the same key is under way.
    if (response.status >= 500 || [408, 409, 429].includes(response.status))
      throw new Unavailable(said, retryAfterMs(response.headers) || null);
    throw new Refused(said);
  }

  async function ask(url: string, init: RequestInit, answers: readonly number[]): Promise<Answer> {
    for (let n = 1; ; n += 1) {
      try {
        return await once(url, init, answers);
      } catch (error) {
        if (!(error instanceof Unavailable) || n >= TRIES) throw error;
        const pauseMs = error.retryAfterMs ?? FIRST_PAUSE_MS * 2 ** (n - 1) * (0.5 + Math.random());
        if (pauseMs > LONGEST_PAUSE_MS) throw error;
        await sleep(pauseMs);
      }
    }
  }

  async function read(key: string): Promise<Uint8Array | null> {
    const { status, body } = await ask(urlOf(key), { method: 'GET' }, [200, 404]);
    if (status === 200) return body;
    const { code, message } = errorOf(body);
    if (code === 'NoSuchBucket') throw new Refused(`${shown} says 404 ${code}: ${message}`);
    return null;
  }

  /** Everything that a listing gives, page by page. */
  async function list(below: string, more: Readonly<Record<string, string>>, element: RegExp): Promise<string[]> {
    const found: string[] = [];
    for (let token: string | null = null; ;) {
      const url = new URL(`${base}/`);
      const query = { 'list-type': '2', prefix: `${prefix}${below}`, ...more };
      for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
      if (token !== null) url.searchParams.set('continuation-token', token);
      const { body } = await ask(url.href, { method: 'GET' }, [200]);
      const xml = new TextDecoder().decode(body);
      if (!xml.includes('<ListBucketResult')) throw new Refused(`${shown}: what answers there is no S3`);
      found.push(...[...xml.matchAll(element)].map((match) => unescapeXml(match[1] ?? '').slice(prefix.length)));
      token = /<IsTruncated>true<\/IsTruncated>/.test(xml)
        ? unescapeXml(/<NextContinuationToken>([^<]*)</.exec(xml)?.[1] ?? '')
        : null;
      if (token === null || token === '') return found;
    }
  }

  async function create(key: string, text: string): Promise<'created' | 'exists'> {
    const init: RequestInit = {
      method: 'PUT',
      body: text,
      headers: {
        'If-None-Match': '*',
        'Content-Type': 'application/json',
        'X-Amz-Content-Sha256': await sha256Hex(text),
      },
    };
    const { status } = await ask(urlOf(key), init, [200, 412]);
    return status === 200 ? 'created' : 'exists';
  }

  return {
    create,
    read,
    keys: (below, after) => list(below, after === undefined ? {} : { 'start-after': `${prefix}${after}` }, KEYS),

    async folders(below) {
      const found = await list(below, { delimiter: '/' }, /<CommonPrefixes>\s*<Prefix>([^<]*)<\/Prefix>/g);
      return found.map((name) => name.slice(below.length).replace(/\/$/, ''));
    },

    async check() {
      const remedy = 'see SLIPWAY_EVIDENCE_STORE, SLIPWAY_S3_ENDPOINT, SLIPWAY_S3_REGION and the AWS_* credentials';
      try {
        // Written once, ever: afterwards it shows that a second write is refused, which everything here depends on.
        await create('probe', 'probe\n');
        if ((await create('probe', 'probe again\n')) === 'created')
          throw new ObjectStoreUnusable(
            `${shown} writes over what exists: conditional writes (If-None-Match) are needed, which this server does not know`,
          );
        if ((await read('probe')) === null) throw new ObjectStoreUnusable(`${shown} does not give back what was kept`);
        await list('probe', {}, KEYS);
      } catch (error) {
        if (!(error instanceof Unavailable || error instanceof Refused)) throw error;
        throw new ObjectStoreUnusable(`nothing can be kept in S3: ${error.message}: ${remedy}`, { cause: error });
      }
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: Uint8Array;
}

/** Code and message of S3's error document; of another document nothing. */
function errorOf(body: Uint8Array): { readonly code: string; readonly message: string } {
  const xml = new TextDecoder().decode(body.slice(0, 10_000));
  const of = (name: string): string => unescapeXml(new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? '');
  return { code: of('Code').slice(0, 100), message: of('Message').slice(0, 500) };
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(lt|gt|quot|apos|amp));/gi, (_, hex, decimal, name) =>
    typeof name === 'string'
      ? (ENTITIES[name.toLowerCase()] ?? '')
      : String.fromCodePoint(Number.parseInt(String(hex ?? decimal), hex === undefined ? 10 : 16)),
  );
}

async function sha256Hex(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Buffer.from(digest).toString('hex');
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  return error.cause instanceof Error ? error.cause.message : error.message;
}
