import * as client from 'openid-client';
import { z } from 'zod';
import type { ServerFile } from '../../../formats/server-config.js';
import { ApiProblem } from '../problems.js';
import type { Proved } from './people.js';
import type { Login, Sessions } from './session.js';

type Settings = NonNullable<ServerFile['oidc']>;

const CALL_S = 10;
/** A provider that could not be asked is asked again no sooner than this. */
const RETRY_MS = 5000;
/** Break-glass asks for a login that is no older than this. */
export const FRESH_S = 300;

const Claims = z.looseObject({
  sub: z.string().min(1),
  name: z.string().optional(),
  preferred_username: z.string().optional(),
  email: z.string().optional(),
  email_verified: z.union([z.boolean(), z.string()]).optional(),
  auth_time: z.number().optional(),
});

/** Who has logged in. */
export interface LoggedIn {
  readonly proved: Proved & { readonly via: 'oidc' };
  /**
   * The provider has told `auth_time`. Many tell it only where `max_age` is asked for: without it nobody knows whether the
   * person did anything for this login, or the provider remembered them.
   */
  readonly authTimeKnown: boolean;
}

/** Login of people by an OpenID provider: authorisation code with PKCE (RFC 7636), state and nonce. */
export class OidcLogin {
  private config: client.Configuration | null = null;
  private failedAtMs = 0;
  private lastError: string | null = null;

  constructor(
    private readonly settings: Settings,
    private readonly secret: string | null,
    private readonly sessions: Sessions,
    /** Origin that people use: behind a proxy the request's own address is another. */
    private readonly publicUrl: string,
  ) {}

  get decideWithinMs(): number {
    return this.settings.decideWithin;
  }

  /** Null once the provider was found, else why not. */
  async notReady(): Promise<string | null> {
    try {
      await this.discovered();
      return null;
    } catch (error) {
      return error instanceof ApiProblem ? error.message : 'the identity provider can’t be asked';
    }
  }

  /** Where to send the browser, and the cookie that the way back needs. */
  async begin(back: string, fresh: boolean): Promise<{ readonly location: string; readonly cookie: string }> {
    const config = await this.discovered();
    const verifier = client.randomPKCECodeVerifier();
    const state = client.randomState();
    const nonce = client.randomNonce();
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: this.redirectUri,
      scope: this.settings.scopes.join(' '),
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      nonce,
      ...(fresh ? { max_age: String(FRESH_S), prompt: 'login' } : {}),
    });
    const cookie = await this.sessions.setLogin({ state, nonce, verifier, back, fresh });
    return { location: url.href, cookie };
  }

  /** Ends a login. @param query the request's own query, with its `?` @throws ApiProblem `login-failed`, `unavailable` */
  async finish(query: string, login: Login): Promise<LoggedIn> {
    const config = await this.discovered();
    // Not the request's own address: behind a proxy that is http, and the provider would refuse it.
    const url = new URL(`${this.redirectUri}${query}`);
    let claims: z.infer<typeof Claims>;
    let authTimeS: number | undefined;
    try {
      const tokens = await client.authorizationCodeGrant(config, url, {
        pkceCodeVerifier: login.verifier,
        expectedState: login.state,
        expectedNonce: login.nonce,
        idTokenExpected: true,
        // Where it is asked for, an answer without `auth_time`, or with one that is too old, is not accepted.
        ...(login.fresh ? { maxAge: FRESH_S } : {}),
      });
      const idToken = Claims.parse(tokens.claims());
      authTimeS = idToken.auth_time;
      // Many providers tell names and groups there only.
      const more =
        config.serverMetadata().userinfo_endpoint === undefined
          ? {}
          : await client.fetchUserInfo(config, tokens.access_token, idToken.sub);
      claims = Claims.parse({ ...more, ...idToken });
    } catch (error) {
      // The person's own no, or the provider's to this person: nothing is wrong with its answer.
      if (error instanceof client.AuthorizationResponseError && error.error === 'access_denied')
        throw new ApiProblem('login-failed', 'it was cancelled, or the identity provider does not let you in here', {
          next: 'begin again at /login; if you did not cancel it, ask whoever runs the identity provider',
        });
      throw new ApiProblem('login-failed', `the identity provider's answer is not accepted (${codeOf(error)})`);
    }
    const { subjectClaim, groupsClaim } = this.settings;
    const subject: unknown = claims[subjectClaim];
    if (typeof subject !== 'string' || subject === '')
      throw new ApiProblem('login-failed', `the identity provider does not tell the claim ${subjectClaim}`);
    const verified =
      claims.email_verified === undefined || claims.email_verified === true || claims.email_verified === 'true';
    if (subjectClaim === 'email' && !verified)
      throw new ApiProblem('login-failed', 'the identity provider has not verified your mail address');
    const groups: unknown = claims[groupsClaim];
    const proved = {
      subject,
      name: claims.name ?? claims.preferred_username ?? claims.email ?? subject,
      kind: 'person' as const,
      via: 'oidc' as const,
      groups: Array.isArray(groups) ? groups.filter((group): group is string => typeof group === 'string') : [],
      aliases: [claims.sub, ...(claims.email !== undefined && verified ? [claims.email] : [])].filter(
        (alias) => alias !== subject,
      ),
      authenticatedAtMs: (authTimeS ?? Math.floor(Date.now() / 1000)) * 1000,
    };
    return { proved, authTimeKnown: authTimeS !== undefined };
  }

  private get redirectUri(): string {
    return `${this.publicUrl}/login/callback`;
  }

  private async discovered(): Promise<client.Configuration> {
    if (this.config !== null) return this.config;
    if (Date.now() - this.failedAtMs < RETRY_MS && this.lastError !== null)
      throw new ApiProblem('unavailable', this.lastError);
    const { issuer, clientId } = this.settings;
    try {
      const found = await client.discovery(
        new URL(issuer),
        clientId,
        undefined,
        this.secret === null ? client.None() : client.ClientSecretBasic(this.secret),
        {
          timeout: CALL_S,
          // The file allows http for this machine only.
          ...(issuer.startsWith('http:') ? { execute: [client.allowInsecureRequests] } : {}),
        },
      );
      found.timeout = CALL_S;
      this.config = found;
      return found;
    } catch (error) {
      this.failedAtMs = Date.now();
      this.lastError = `the identity provider ${issuer} can't be used now (${codeOf(error)})`;
      throw new ApiProblem('unavailable', this.lastError);
    }
  }
}

/** The library's own word for what went wrong: a fixed text, never something that was received. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
  return code !== null && /^[A-Z_]{1,60}$/.test(code) ? code : error instanceof Error ? error.name : 'unknown';
}

/** A path of this server to go back to after the login; anything else leads to the list. */
export function safeReturn(text: string | undefined): string {
  return text !== undefined && text.length <= 512 && /^\/(?![/\\])[\x21-\x7e]*$/.test(text) && !text.includes('\\')
    ? text
    : '/';
}
