import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How one request goes wrong. */
export type RegistryFault =
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** No headers, ever. */
  | { readonly kind: 'stall' }
  /** Headers and the begin of a body, then nothing. */
  | { readonly kind: 'stall-body' }
  /** The connection ends before any answer. */
  | { readonly kind: 'drop' }
  /** A manifest of this many bytes. */
  | { readonly kind: 'huge'; readonly bytes: number };

export interface RegistryRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly accept: string;
  readonly authorization: string | null;
}

export interface FakeRegistry {
  /** `127.0.0.1:port`, as it stands in references. */
  readonly host: string;
  readonly requests: readonly RegistryRequest[];
  /** `token`: Bearer tokens from its own `/token`; `basic`: user and password with every request. */
  auth: 'none' | 'token' | 'basic';
  /** `user:password` of whoever may read; null for anyone. */
  reader: string | null;
  /** Whether answers to HEAD say the digest. */
  digestInHead: boolean;
  /** Asked for each request; null lets it go well. */
  fault: (request: RegistryRequest) => RegistryFault | null;
  /** Makes a tag name new bytes, and gives their digest. */
  push(repository: string, tag: string): string;
  close(): Promise<void>;
}

export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

/** A real HTTP server that speaks the read side of the OCI distribution protocol, or misbehaves as told. */
export async function startFakeRegistry(): Promise<FakeRegistry> {
  const requests: RegistryRequest[] = [];
  /** Bytes by `repository:tag`. */
  const manifests = new Map<string, string>();
  const tokens = new Set<string>();
  let pushes = 0;

  const server = createServer((incoming, response) => {
    incoming.resume();
    const request = seen(incoming);
    requests.push(request);
    const fault = registry.fault(request);
    if (fault !== null) misbehave(response, fault);
    else if (request.path.startsWith('/token?')) giveToken(request, response);
    else if (isAllowed(request)) giveManifest(request, response);
    else askForLogin(request, response);
  });

  function isReader(authorization: string | null): boolean {
    const { reader } = registry;
    return reader === null || authorization === `Basic ${Buffer.from(reader).toString('base64')}`;
  }

  function isAllowed({ authorization }: RegistryRequest): boolean {
    if (registry.auth === 'none') return true;
    if (registry.auth === 'basic') return authorization !== null && isReader(authorization);
    return authorization !== null && tokens.has(authorization);
  }

  function askForLogin({ path }: RegistryRequest, response: ServerResponse): void {
    const scope = `repository:${repositoryOf(path)}:pull`;
    const challenge =
      registry.auth === 'basic'
        ? 'Basic realm="fake"'
        : `Bearer realm="http://${registry.host}/token",service="fake registry",scope="${scope}"`;
    refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': challenge });
  }

  function giveToken({ path, authorization }: RegistryRequest, response: ServerResponse): void {
    const query = new URL(path, 'http://fake').searchParams;
    if (query.get('service') !== 'fake registry' || !/^repository:[^:]+:pull$/.test(query.get('scope') ?? ''))
      return refuse(response, 400, 'UNSUPPORTED');
    if (!isReader(authorization)) return refuse(response, 401, 'UNAUTHORIZED');
    const token = `token-${tokens.size + 1}`;
    tokens.add(`Bearer ${token}`);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token, expires_in: 60 }));
  }

  function giveManifest({ method, path }: RegistryRequest, response: ServerResponse): void {
    const repository = repositoryOf(path);
    const body = manifests.get(`${repository}:${path.slice(path.lastIndexOf('/') + 1)}`);
    if (body === undefined) {
      const known = [...manifests.keys()].some((key) => key.startsWith(`${repository}:`));
      return refuse(response, 404, known ? 'MANIFEST_UNKNOWN' : 'NAME_UNKNOWN');
    }
    const says = method === 'GET' || registry.digestInHead;
    response.writeHead(200, {
      'content-type': OCI_INDEX,
      'content-length': String(Buffer.byteLength(body)),
      ...(says ? { 'docker-content-digest': digestOfBytes(body) } : {}),
    });
    response.end(method === 'HEAD' ? undefined : body);
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const registry: FakeRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    auth: 'none',
    reader: null,
    digestInHead: true,
    fault: () => null,
    push(repository, tag) {
      pushes += 1;
      const manifest = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [], annotations: { push: String(pushes) } };
      const body = JSON.stringify(manifest);
      manifests.set(`${repository}:${tag}`, body);
      return digestOfBytes(body);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return registry;
}

function seen({ method = '', url = '', headers }: IncomingMessage): RegistryRequest {
  return { method, path: url, accept: headers.accept ?? '', authorization: headers.authorization ?? null };
}

function repositoryOf(path: string): string {
  return /^\/v2\/(.+)\/manifests\//.exec(path)?.[1] ?? '';
}

function digestOfBytes(body: string): string {
  return `sha256:${createHash('sha256').update(body).digest('hex')}`;
}

function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ errors: [{ code, message: 'says the fake registry' }] }));
}

function misbehave(response: ServerResponse, fault: RegistryFault): void {
  switch (fault.kind) {
    case 'answer':
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    case 'stall':
      return;
    case 'stall-body':
      response.writeHead(200, { 'content-type': OCI_INDEX, 'content-length': '1000' }).write('{"schema');
      return;
    case 'drop':
      response.destroy();
      return;
    case 'huge':
      response.writeHead(200, { 'content-type': OCI_INDEX }).end('x'.repeat(fault.bytes));
  }
}
