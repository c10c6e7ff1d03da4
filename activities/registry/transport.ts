import { durationText } from '../../domain/words.js';
import { SLIPWAY_VERSION } from '../../domain/version.js';
import { retryAfterMs } from '../retry-after.js';

/** An answer that is not the one that was asked for, and what that means for the question. Its message holds no secret. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  constructor(
    readonly kind: 'unreachable' | 'unauthorised',
    message: string,
    /** How long to wait before another try, ms; null where another try is no use. */
    readonly retryMs: number | null = null,
  ) {
    super(message);
  }
}

export interface Call {
  readonly fetch: typeof fetch;
  readonly method: 'GET' | 'HEAD';
  readonly url: URL;
  readonly accept: string;
  /** The whole `Authorization` header, or null. It is sent to the origin of `url` only, wherever that redirects to. */
  readonly authorization: string | null;
  /** Larger bodies are not read. */
  readonly maxBytes: number;
  /** Redirects that are followed. */
  readonly maxRedirects: number;
  readonly signal: AbortSignal;
}

export interface Answer {
  /** Where it came from, after redirects. */
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

/** Faults of a connection that pass. */
const PASSING = new Set(['ECONNRESET', 'EPIPE', 'EAI_AGAIN', 'UND_ERR_SOCKET']);

/** One HTTP call, redirects and body included. @throws NoAnswer, or the signal's reason when that is no timeout */
export async function send(call: Call): Promise<Answer> {
  let { url } = call;
  for (let redirects = 0; ; redirects++) {
    const response = await fetchOnce(call, url);
    const location = response.status >= 300 && response.status < 400 ? response.headers.get('location') : null;
    if (location === null) {
      const body = await readBody(call, url, response);
      return { url, status: response.status, headers: response.headers, body };
    }
    await response.body?.cancel();
    if (redirects === call.maxRedirects) throw new NoAnswer('unreachable', `${call.url.host} redirects too often`);
    url = redirected(url, location);
  }
}

async function fetchOnce(call: Call, url: URL): Promise<Response> {
  const authorized = call.authorization !== null && url.origin === call.url.origin;
  try {
    return await call.fetch(url, {
      method: call.method,
      redirect: 'manual',
      headers: {
        accept: call.accept,
        'user-agent': `slipway/${SLIPWAY_VERSION}`,
        ...(authorized ? { authorization: call.authorization } : {}),
      },
      signal: call.signal,
    });
  } catch (error) {
    throw failed(call, url, error);
  }
}

/** Where a redirect leads: never from a secure connection to one that can be read on the way. */
function redirected(from: URL, location: string): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : null;
  const followed = to !== null && (to.protocol === 'https:' || to.protocol === from.protocol) && to.username === '';
  if (!followed) throw new NoAnswer('unreachable', `${from.host} redirects to an address that is not followed`);
  return to;
}

async function readBody(call: Call, url: URL, { body }: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of body ?? []) {
      size += chunk.byteLength;
      if (size > call.maxBytes) throw new NoAnswer('unreachable', `${url.host} answers more than a registry would`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw failed(call, url, error);
  }
  return Buffer.concat(chunks);
}

function failed({ signal }: Call, { host }: URL, error: unknown): unknown {
  if (error instanceof NoAnswer) return error;
  if (signal.aborted) {
    const reason: unknown = signal.reason;
    if (!(reason instanceof Error) || reason.name !== 'TimeoutError') return reason;
    return new NoAnswer('unreachable', `${host} did not answer in time`);
  }
  const cause = error instanceof Error ? error.cause : null;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'connection failed';
  return new NoAnswer('unreachable', `${host} can't be reached (${code})`, PASSING.has(code) ? 0 : null);
}

/** What any status but the expected ones means. */
export function unexpected({ url: { host }, status, headers }: Answer): NoAnswer {
  if (status === 401 || status === 403)
    return new NoAnswer('unauthorised', `${host} does not let this worker read there (${status})`);
  if (status !== 429 && status < 500) return new NoAnswer('unreachable', `${host} answered ${status}`);
  const waitMs = retryAfterMs(headers);
  const asks = waitMs === 0 ? '' : `, and asks to wait ${durationText(waitMs)}`;
  return new NoAnswer('unreachable', `${host} answered ${status}${asks}`, waitMs);
}
