import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { CryptoKey, JWK } from 'jose';

/** An OpenID issuer for tokens of CI jobs, which makes any token that a test wants, good or bad. */
export interface Issuer {
  readonly url: string;
  readonly key: CryptoKey;
  readonly publicJwk: JWK;
  /** Questions for its keys. */
  asked: number;
  /** Answers 500 while it is true. */
  down: boolean;
  /** The claims of a GitHub job, with changes; undefined takes one away. */
  token(change?: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Another key from now on. */
  rotate(): Promise<void>;
  close(): Promise<void>;
}

export const AUDIENCE = 'slipway-test';

export async function startIssuer(): Promise<Issuer> {
  let pair = await generateKeyPair('RS256', { extractable: true });
  let kid = 'key-1';
  let jwk: JWK = { ...(await exportJWK(pair.publicKey)), kid, alg: 'RS256', use: 'sig' };
  const server = createServer((request, response) => {
    if (issuer.down) {
      response.writeHead(500).end();
      return;
    }
    if (request.url === '/keys') issuer.asked += 1;
    const body = request.url === '/keys' ? { keys: [jwk] } : { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer: Issuer = {
    url,
    asked: 0,
    down: false,
    get key() {
      return pair.privateKey;
    },
    get publicJwk() {
      return jwk;
    },
    async token(change = {}, header = {}) {
      const nowS = Math.floor(Date.now() / 1000);
      const claims = Object.fromEntries(
        Object.entries({
          iss: url,
          aud: AUDIENCE,
          sub: 'repo:acme/shop:ref:refs/heads/main',
          jti: randomUUID(),
          iat: nowS,
          exp: nowS + 300,
          repository: 'acme/shop',
          repository_id: '42',
          repository_owner_id: '7',
          ref: 'refs/heads/main',
          ref_type: 'branch',
          event_name: 'push',
          actor: 'ann',
          actor_id: '1001',
          ...change,
        }).filter(([, value]) => value !== undefined),
      );
      return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT', ...header }).sign(pair.privateKey);
    },
    async rotate() {
      pair = await generateKeyPair('RS256', { extractable: true });
      kid = `key-${randomUUID()}`;
      jwk = { ...(await exportJWK(pair.publicKey)), kid, alg: 'RS256', use: 'sig' };
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return issuer;
}
