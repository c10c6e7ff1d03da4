import { randomBytes } from 'node:crypto';
import { EncryptJWT, errors, jwtDecrypt } from 'jose';
import { z } from 'zod';
import type { Proved } from './people.js';

/** A session ends after so long without a request, and after so long altogether. */
export const IDLE_MS = 8 * 3_600_000;
export const ABSOLUTE_MS = 12 * 3_600_000;
/** A cookie that is older is written anew: so often is enough to tell whether somebody was idle. */
const RENEW_MS = 5 * 60_000;
const LOGIN_MS = 10 * 60_000;
/** Scanners for secrets find it by this. */
export const COMMAND_PREFIX = 'slc_';

const SessionClaims = z.object({
  /** `command`: a token that a person has taken from the page to a command line. */
  purpose: z.enum(['session', 'command']),
  proved: z.object({
    subject: z.string(),
    name: z.string(),
    kind: z.enum(['person', 'machine']),
    via: z.enum(['oidc', 'token']),
    groups: z.array(z.string()),
    aliases: z.array(z.string()),
    authenticatedAtMs: z.number(),
  }),
  /** Of the static token that it was opened with: it ends when that is taken out of the file. */
  tokenId: z.string().nullable(),
  /** `authenticatedAtMs` is when the person proved who they are, not when they came by; cookies of before don't tell. */
  authTimeKnown: z.boolean().default(false),
  csrf: z.string(),
  beganMs: z.number(),
  seenMs: z.number(),
  endsMs: z.number(),
});
export type Session = z.infer<typeof SessionClaims>;

const LoginClaims = z.object({
  purpose: z.literal('login'),
  state: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  back: z.string(),
  fresh: z.boolean(),
  beganMs: z.number(),
});
export type Login = z.infer<typeof LoginClaims>;

/**
 * Sessions without a store, so that servers can be many: an encrypted cookie (JWE, `dir` with A256GCM). The first key
 * encrypts, all decrypt: a new key is put first, and the old one is removed 12 h later.
 */
export class Sessions {
  private readonly keys: readonly Uint8Array[];

  constructor(
    keys: readonly Uint8Array[],
    private readonly secure: boolean,
    private readonly now: () => number = Date.now,
  ) {
    this.keys = keys.length > 0 ? keys : [randomBytes(32)];
  }

  /** Name of the cookie. `__Host-` binds it to this very host; browsers take it over https only. */
  get cookie(): string {
    return this.secure ? '__Host-slipway' : 'slipway-session';
  }

  /** A new session, with a new id: what was known of an older one is worth nothing. */
  begin(
    proved: Proved & { readonly via: 'oidc' | 'token' },
    more: { readonly endsMs?: number; readonly tokenId?: string; readonly authTimeKnown?: boolean } = {},
  ): Session {
    const beganMs = this.now();
    return {
      purpose: 'session',
      proved: { ...proved, groups: [...proved.groups], aliases: [...proved.aliases] },
      tokenId: more.tokenId ?? null,
      authTimeKnown: more.authTimeKnown ?? false,
      csrf: randomBytes(32).toString('base64url'),
      beganMs,
      seenMs: beganMs,
      endsMs: Math.min(beganMs + ABSOLUTE_MS, more.endsMs ?? Infinity),
    };
  }

  /** When it ends if nothing more is asked, ms since the epoch. */
  until({ seenMs, endsMs }: Session): number {
    return Math.min(endsMs, seenMs + IDLE_MS);
  }

  /** The session in a cookie; null where it is none of ours, or over. */
  async read(value: string): Promise<Session | null> {
    return this.readAs('session', value);
  }

  /** A token for the command line: the same person for as long as the session may last, whether somebody is idle or not. */
  async commandToken(session: Session): Promise<{ readonly token: string; readonly untilMs: number }> {
    const token = await this.seal({ ...session, purpose: 'command', csrf: '', seenMs: session.endsMs });
    return { token: `${COMMAND_PREFIX}${token}`, untilMs: session.endsMs };
  }

  /** Null where it is none of ours, or over. */
  async readCommandToken(text: string): Promise<Session | null> {
    return text.startsWith(COMMAND_PREFIX) ? this.readAs('command', text.slice(COMMAND_PREFIX.length)) : null;
  }

  private async readAs(purpose: Session['purpose'], value: string): Promise<Session | null> {
    const session = SessionClaims.safeParse(await this.open(value));
    return session.success && session.data.purpose === purpose && this.until(session.data) > this.now()
      ? session.data
      : null;
  }

  /** The session as it is to be written again; null: not yet. */
  renewed(session: Session): Session | null {
    return this.now() - session.seenMs > RENEW_MS ? { ...session, seenMs: this.now() } : null;
  }

  async setCookie(session: Session): Promise<string> {
    return this.header(this.cookie, await this.seal(session), Math.ceil((session.endsMs - this.now()) / 1000));
  }

  clearCookie(): string {
    return this.header(this.cookie, '', 0);
  }

  /** One cookie for each attempt to log in: people have several tabs. */
  loginCookie(state: string): string {
    return `${this.secure ? '__Host-' : ''}slipway-login-${state.slice(0, 12)}`;
  }

  async setLogin(login: Omit<Login, 'purpose' | 'beganMs'>): Promise<string> {
    const claims: Login = { ...login, purpose: 'login', beganMs: this.now() };
    return this.header(this.loginCookie(login.state), await this.seal(claims), LOGIN_MS / 1000);
  }

  clearLogin(state: string): string {
    return this.header(this.loginCookie(state), '', 0);
  }

  async readLogin(value: string): Promise<Login | null> {
    const login = LoginClaims.safeParse(await this.open(value));
    return login.success && login.data.beganMs + LOGIN_MS > this.now() ? login.data : null;
  }

  private async seal(claims: Session | Login): Promise<string> {
    const [key] = this.keys;
    if (key === undefined) throw new TypeError('there is no session key');
    return new EncryptJWT({ slipway: claims }).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(key);
  }

  private async open(value: string): Promise<unknown> {
    for (const key of this.keys) {
      try {
        const { payload } = await jwtDecrypt(value, key, {
          keyManagementAlgorithms: ['dir'],
          contentEncryptionAlgorithms: ['A256GCM'],
        });
        return payload['slipway'];
      } catch (error) {
        // Another key may fit; what is no JWE at all fits none.
        if (!(error instanceof errors.JOSEError)) throw error;
      }
    }
    return null;
  }

  private header(name: string, value: string, seconds: number): string {
    // Lax, not Strict: links from Slack come from another site.
    return `${name}=${value}; Path=/; Max-Age=${Math.max(0, seconds)}; HttpOnly; SameSite=Lax${this.secure ? '; Secure' : ''}`;
  }
}
