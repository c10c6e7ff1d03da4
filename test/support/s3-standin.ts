import { createHash, createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What an S3 server is told to do wrong with a request, or null. */
export type S3Fault =
  | { readonly kind: 'error'; readonly status: number; readonly code: string; readonly retryAfter?: string }
  /** Does it, and then says nothing. */
  | { readonly kind: 'hang-after' }
  | { readonly kind: 'hang-before' }
  /** Does it, and then breaks the connection. */
  | { readonly kind: 'reset-after' }
  | { readonly kind: 'html' }
  | null;

export interface S3Request {
  readonly method: string;
  /** Without the bucket. */
  readonly key: string;
  readonly headers: IncomingMessage['headers'];
}

export interface S3Standin {
  readonly url: string;
  readonly objects: Map<string, Buffer>;
  readonly requests: S3Request[];
  /** Asked before each request. */
  fault: (request: S3Request) => S3Fault;
  /** As servers that know nothing of `If-None-Match` do. */
  ignoresConditions: boolean;
  stop(): Promise<void>;
}

export interface S3StandinOptions {
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  /** Keys in one page of a listing. */
  readonly pageSize?: number;
}

/** One bucket over HTTP, as S3 speaks: signatures are computed anew and compared, errors are XML, listings come in pages. */
export async function startS3Standin(options: S3StandinOptions): Promise<S3Standin> {
  const { bucket, pageSize = 1000 } = options;
  const objects = new Map<string, Buffer>();
  const requests: S3Request[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const url = new URL(request.url ?? '/', 'http://s3');
    const [, named, ...rest] = decodeURIComponent(url.pathname).split('/');
    const seen = { method: request.method ?? '', key: rest.join('/'), headers: request.headers };
    requests.push(seen);
    const fault = standin.fault(seen);
    if (fault?.kind === 'hang-before') return;
    if (fault?.kind === 'html') return send(response, 200, '<html>a proxy</html>');
    if (fault?.kind === 'error')
      return sendError(response, fault.status, fault.code, 'as the test says', fault.retryAfter);
    const wrong = signatureFault(request, url, body, options);
    if (wrong !== null) return sendError(response, 403, wrong, 'the request signature does not match');
    if (named !== bucket) return sendError(response, 404, 'NoSuchBucket', 'The specified bucket does not exist');
    const perform = (): { status: number; code?: string; body?: string | Buffer } => {
      if (seen.method === 'PUT') {
        if (request.headers['if-none-match'] === '*' && objects.has(seen.key) && !standin.ignoresConditions)
          return { status: 412, code: 'PreconditionFailed' };
        objects.set(seen.key, body);
        return { status: 200 };
      }
      if (seen.method !== 'GET') return { status: 405, code: 'MethodNotAllowed' };
      if (seen.key === '') return { status: 200, body: listing(objects, url.searchParams, pageSize) };
      const found = objects.get(seen.key);
      return found === undefined ? { status: 404, code: 'NoSuchKey' } : { status: 200, body: found };
    };
    const done = perform();
    if (fault?.kind === 'hang-after') return;
    if (fault?.kind === 'reset-after') {
      request.socket.destroy();
      return;
    }
    if (done.code !== undefined) sendError(response, done.status, done.code, 'At least one & more');
    else send(response, done.status, done.body ?? '');
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => sendError(response, 500, 'InternalError', String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const standin: S3Standin = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objects,
    requests,
    fault: () => null,
    ignoresConditions: false,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return standin;
}

function send(response: ServerResponse, status: number, body: string | Buffer): void {
  response.writeHead(status, { 'content-type': 'application/xml' }).end(body);
}

function sendError(response: ServerResponse, status: number, code: string, message: string, retryAfter?: string): void {
  if (retryAfter !== undefined) response.setHeader('retry-after', retryAfter);
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message><RequestId>1</RequestId></Error>`;
  send(response, status, text);
}

/** The code of the error that a wrong signature gets; null where it is right (AWS Signature Version 4, in the header). */
function signatureFault(
  { method = '', headers }: IncomingMessage,
  url: URL,
  body: Buffer,
  { accessKeyId, secretAccessKey, region }: S3StandinOptions,
): string | null {
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    );
  if (parts === null) return 'AccessDenied';
  const [, key, day = '', place, signed = '', signature] = parts;
  const at = String(headers['x-amz-date']);
  const hash = String(headers['x-amz-content-sha256']);
  if (key !== accessKeyId) return 'InvalidAccessKeyId';
  if (place !== region) return 'AuthorizationHeaderMalformed';
  if (hash !== 'UNSIGNED-PAYLOAD' && hash !== sha256(body)) return 'XAmzContentSHA256Mismatch';
  const time = Date.parse(at.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (!(Math.abs(Date.now() - time) < 15 * 60_000)) return 'RequestTimeTooSkewed';
  const query = [...url.searchParams]
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .toSorted()
    .join('&');
  const named = signed.split(';');
  for (const needed of ['host', 'x-amz-date', 'x-amz-content-sha256', ...(method === 'PUT' ? ['if-none-match'] : [])])
    if (!named.includes(needed)) return 'AccessDenied';
  const path = url.pathname
    .split('/')
    .map((part) => encode(decodeURIComponent(part)))
    .join('/');
  const canonical = [
    method,
    path,
    query,
    ...named.map((name) => `${name}:${String(headers[name])}`),
    '',
    signed,
    hash,
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', at, scope, sha256(canonical)].join('\n');
  const mac = (secret: string | Buffer, data: string): Buffer => createHmac('sha256', secret).update(data).digest();
  const secret = ['s3', 'aws4_request'].reduce(mac, mac(mac(`AWS4${secretAccessKey}`, day), region));
  return mac(secret, text).toString('hex') === signature ? null : 'SignatureDoesNotMatch';
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** A page of ListObjectsV2. */
function listing(objects: ReadonlyMap<string, Buffer>, query: URLSearchParams, pageSize: number): string {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter');
  const after = query.get('continuation-token')?.replace(/^from /, '') ?? query.get('start-after') ?? '';
  const entries = new Map<string, 'key' | 'prefix'>();
  for (const key of [...objects.keys()].toSorted((a, b) => (a < b ? -1 : 1))) {
    if (!key.startsWith(prefix)) continue;
    const end = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
    if (end >= 0) entries.set(key.slice(0, end + 1), 'prefix');
    else entries.set(key, 'key');
  }
  const rest = [...entries].filter(([name]) => name > after);
  const page = rest.slice(0, pageSize);
  const more = rest.length > page.length;
  const lines = page.map(([name, kind]) =>
    kind === 'key'
      ? `<Contents><Key>${escapeXml(name)}</Key><Size>1</Size></Contents>`
      : `<CommonPrefixes><Prefix>${escapeXml(name)}</Prefix></CommonPrefixes>`,
  );
  const token = more ? `<NextContinuationToken>from ${escapeXml(page.at(-1)?.[0] ?? '')}</NextContinuationToken>` : '';
  return `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${more}</IsTruncated>${token}${lines.join('')}</ListBucketResult>`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
