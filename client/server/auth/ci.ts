import { createHash } from 'node:crypto';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { FORBIDDEN_EVENTS } from '../../../formats/server-config.js';
import type { ServerFile } from '../../../formats/server-config.js';
import { ApiProblem } from '../problems.js';
import type { Proved } from './people.js';

type CiIssuer = ServerFile['ci'][number];

const DISCOVERY_MS = 5000;
/** Asymmetric ones only: with HS256 the issuer's public key would be a password that everybody knows. */
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const MAX_AGE_S = 600;
const TOLERANCE_S = 30;
const MAX_USED = 50_000;

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) });

export interface CiToken {
  readonly proved: Proved;
  readonly jti: string;
  readonly expiresMs: number;
}

/** Tokens that CI systems give to their jobs (GitHub Actions, GitLab, any OpenID issuer). */
export class CiTokens {
  private readonly keys = new Map<string, JWTVerifyGetKey>();
  /** What each token was first used for, by its `jti`. */
  private readonly used = new Map<string, { readonly what: string; readonly untilMs: number }>();

  constructor(
    private readonly issuers: readonly CiIssuer[],
    private readonly now: () => number = Date.now,
  ) {}

  /** Whose token this is. @throws ApiProblem: `invalid-token`, or `unavailable` where the issuer's keys can't be had */
  async check(text: string): Promise<CiToken> {
    const issuer = claimedIssuer(text);
    // Chosen by what we were told to trust; the token's own word only says which of those to try.
    const candidates = this.issuers.filter((known) => known.issuer === issuer);
    if (candidates.length === 0) throw invalid('no issuer that this server trusts has made it');
    let why = '';
    for (const candidate of candidates) {
      const payload = await this.verify(text, candidate);
      if (payload.kind === 'invalid') {
        why ||= payload.why;
        continue;
      }
      const mismatch = mismatchOf(candidate, payload.claims);
      if (mismatch === null) return tokenOf(candidate, payload.claims, this.now());
      why = mismatch;
    }
    throw invalid(why);
  }

  /**
   * Notes what a token is used for. A second use for the same request is a retry; for another one it is a replay.
   * @throws ApiProblem `token-used`
   */
  use(
    { jti, expiresMs }: CiToken,
    request: { readonly method: string; readonly path: string; readonly body: Uint8Array },
  ): void {
    const nowMs = this.now();
    if (this.used.size >= MAX_USED)
      for (const [known, { untilMs }] of this.used) if (untilMs < nowMs) this.used.delete(known);
    const what = `${request.method} ${request.path} ${createHash('sha256').update(request.body).digest('base64url')}`;
    const before = this.used.get(jti);
    if (before !== undefined && before.what !== what)
      throw new ApiProblem('token-used', 'this token was already used for another request that changes something');
    if (before === undefined && this.used.size >= MAX_USED)
      throw new ApiProblem('unavailable', 'too many tokens are in use at once');
    this.used.set(jti, { what, untilMs: expiresMs + TOLERANCE_S * 1000 });
  }

  private async verify(
    text: string,
    issuer: CiIssuer,
  ): Promise<
    { readonly kind: 'valid'; readonly claims: JWTPayload } | { readonly kind: 'invalid'; readonly why: string }
  > {
    try {
      const { payload } = await jwtVerify(text, await this.keysOf(issuer), {
        issuer: issuer.issuer,
        audience: issuer.audience,
        algorithms: ALGORITHMS,
        requiredClaims: ['exp', 'iat', 'jti', 'sub'],
        maxTokenAge: MAX_AGE_S,
        clockTolerance: TOLERANCE_S,
        currentDate: new Date(this.now()),
      });
      if (Array.isArray(payload.aud) && payload.aud.length > 1)
        return { kind: 'invalid', why: 'it is meant for several audiences' };
      return { kind: 'valid', claims: payload };
    } catch (error) {
      if (error instanceof ApiProblem) throw error;
      return { kind: 'invalid', why: whyInvalid(error, issuer) };
    }
  }

  private async keysOf(issuer: CiIssuer): Promise<JWTVerifyGetKey> {
    const known = this.keys.get(issuer.issuer);
    if (known !== undefined) return known;
    const uri = issuer.jwksUri ?? (await discover(issuer.issuer));
    const remote = createRemoteJWKSet(new URL(uri), { timeoutDuration: DISCOVERY_MS });
    const keys: JWTVerifyGetKey = async (header, token) => {
      try {
        return await remote(header, token);
      } catch (error) {
        // Only what is wrong with the token is the token's fault.
        if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JOSENotSupported) throw error;
        if (error instanceof errors.JWKSMultipleMatchingKeys) throw error;
        throw new ApiProblem('unavailable', `the keys of ${issuer.issuer} can't be had now`);
      }
    };
    this.keys.set(issuer.issuer, keys);
    return keys;
  }
}

async function discover(issuer: string): Promise<string> {
  try {
    const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, {
      signal: AbortSignal.timeout(DISCOVERY_MS),
      redirect: 'error',
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const found = Discovery.parse(await response.json());
    if (found.issuer !== issuer) throw new Error('it calls itself otherwise');
    return found.jwks_uri;
  } catch {
    // Which of the many ways a fetch can fail it was does not help the caller; it is theirs to try again.
    throw new ApiProblem('unavailable', `the issuer ${issuer} can't be asked for its keys now`);
  }
}

/** The issuer that an unverified token names, to choose among those that we trust. */
function claimedIssuer(text: string): string | null {
  const part = text.split('.')[1];
  if (part === undefined || text.length > 16_384) return null;
  try {
    const claims: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return z.object({ iss: z.string() }).parse(claims).iss;
  } catch {
    // Not a JWT at all: it is refused like one of an unknown issuer.
    return null;
  }
}

/** Why the claims are not those that the file asks for; null: they are. */
export function mismatchOf(
  { match, allowEvents }: Pick<CiIssuer, 'match' | 'allowEvents'>,
  claims: JWTPayload,
): string | null {
  for (const name of ['event_name', 'pipeline_source']) {
    const event = claims[name];
    const risky = name === 'event_name' ? FORBIDDEN_EVENTS : ['merge_request_event', 'external_pull_request_event'];
    if (typeof event === 'string' && (risky as readonly string[]).includes(event) && !allowEvents.includes(event))
      return `its job was set off by ${event}, in which a stranger's code may run`;
  }
  for (const [name, wanted] of Object.entries(match)) {
    const value = claims[name];
    const text =
      typeof value === 'string'
        ? value
        : typeof value === 'number' || typeof value === 'boolean'
          ? String(value)
          : null;
    if (text === null) return `it has no claim ${name}`;
    if (![wanted].flat().some((pattern) => fits(pattern, text)))
      return `its claim ${name} is not one that this server takes`;
  }
  return null;
}

function fits(pattern: string, text: string): boolean {
  return pattern.endsWith('*') ? text.startsWith(pattern.slice(0, -1)) : pattern === text;
}

function tokenOf(issuer: CiIssuer, claims: JWTPayload, nowMs: number): CiToken {
  const text = (name: string): string | null => {
    const value = claims[name];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
  };
  const subject = issuer.subject.replaceAll(/\{([\w-]+)\}/g, (_, name: string) => text(name) ?? '');
  // Who set the job off: not an approver, but one who can't approve it either.
  const host = new URL(issuer.issuer).hostname;
  const prefix = host.includes('github') || text('repository_id') !== null ? 'github' : 'gitlab';
  const aliases = [
    text('actor') === null ? null : `${prefix}:${text('actor')}`,
    text('actor_id') === null ? null : `${prefix}-id:${text('actor_id')}`,
    text('user_login') === null ? null : `${prefix}:${text('user_login')}`,
    text('user_id') === null ? null : `${prefix}-id:${text('user_id')}`,
    text('user_email'),
  ].filter((alias) => alias !== null);
  return {
    proved: {
      subject,
      name: text('repository') ?? text('project_path') ?? subject,
      kind: 'machine',
      via: 'ci',
      groups: [],
      aliases,
      authenticatedAtMs: nowMs,
    },
    jti: `${issuer.issuer} ${claims.jti ?? ''}`,
    expiresMs: (claims.exp ?? 0) * 1000,
  };
}

function whyInvalid(error: unknown, { audience }: CiIssuer): string {
  if (error instanceof errors.JWTExpired)
    return error.claim === 'iat' ? `it is older than ${MAX_AGE_S / 60} minutes` : 'it has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'aud'
      ? `it is not meant for us: ask for the audience ${audience}`
      : `its claim ${error.claim} is not accepted`;
  if (error instanceof errors.JWKSNoMatchingKey) return 'none of its issuer’s keys signed it';
  if (error instanceof errors.JOSEError || error instanceof TypeError) return 'its signature is not valid';
  throw error;
}

function invalid(why: string): ApiProblem {
  return new ApiProblem('invalid-token', `the token is not accepted: ${why}`);
}
