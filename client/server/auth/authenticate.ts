import { timingSafeEqual } from 'node:crypto';
import type { Identity } from '../../../domain/people.js';
import type { ServerFile } from '../../../formats/server-config.js';
import { ApiProblem } from '../problems.js';
import type { CiToken, CiTokens } from './ci.js';
import { LOCAL } from './people.js';
import type { Directory } from './people.js';
import { COMMAND_PREFIX } from './session.js';
import type { Session, Sessions } from './session.js';
import { checkStaticToken, looksLikeStaticToken } from './static-token.js';

/** Whoever speaks, and how that was proved. */
export interface Caller {
  readonly identity: Identity;
  /** `cookie` and `local` come from browsers, that other sites can make speak; `bearer` does not. */
  readonly how: 'cookie' | 'bearer' | 'local';
  /** By a login of a person that grows old: a session, or a token for the command line that was taken from one. */
  readonly byLogin: boolean;
  /** When the person proved who they are is known: else the identity tells when they logged in, perhaps silently. */
  readonly authTimeKnown: boolean;
  readonly csrf: string | null;
  /** ms since the epoch; null: no end. */
  readonly untilMs: number | null;
  readonly session: Session | null;
  /** Tokens of CI are good for one change each. */
  readonly ci: CiToken | null;
}

/** Of all that is proved with each request. */
const PROVED_NOW = { byLogin: false, authTimeKnown: true } as const;

export interface Proofs {
  readonly directory: Directory;
  readonly sessions: Sessions;
  readonly ci: CiTokens;
  readonly tokens: ServerFile['tokens'];
  /** Without a login everybody is `local`. */
  readonly local: boolean;
}

/** Who speaks; null: nobody said. @throws ApiProblem where a credential is given and not accepted */
export async function authenticate(
  request: Request,
  { directory, sessions, ci, tokens, local }: Proofs,
): Promise<Caller | null> {
  const nowMs = Date.now();
  const authorization = request.headers.get('authorization');
  const cookie = cookieOf(request, sessions.cookie);
  if (authorization !== null && cookie !== null)
    throw new ApiProblem('two-credentials', 'the request carries a session cookie and an Authorization header');
  if (authorization !== null) {
    const bearer = /^Bearer ([\x21-\x7e]+)$/i.exec(authorization)?.[1];
    if (bearer === undefined) throw new ApiProblem('invalid-token', 'the Authorization header is no bearer token');
    if (looksLikeStaticToken(bearer)) {
      const checked = staticCaller(bearer, tokens, directory, nowMs);
      return { ...checked, ...PROVED_NOW, how: 'bearer', csrf: null, session: null, ci: null };
    }
    if (bearer.startsWith(COMMAND_PREFIX)) {
      const session = await sessions.readCommandToken(bearer);
      if (session === null || !stands(session, tokens, nowMs))
        throw new ApiProblem('invalid-token', 'the token for the command line is over, or none of this server');
      const identity = directory.identify(session.proved);
      const { authTimeKnown, endsMs: untilMs } = session;
      return { identity, how: 'bearer', byLogin: true, authTimeKnown, csrf: null, untilMs, session: null, ci: null };
    }
    const token = await ci.check(bearer);
    const identity = directory.identify(token.proved);
    return { identity, ...PROVED_NOW, how: 'bearer', csrf: null, untilMs: token.expiresMs, session: null, ci: token };
  }
  if (cookie !== null) {
    const session = await sessions.read(cookie);
    // A session that is over is nobody; the page then shows its login.
    if (session === null) return local ? localCaller(nowMs) : null;
    if (!stands(session, tokens, nowMs)) return null;
    return sessionCaller(directory.identify(session.proved), session, sessions);
  }
  return local ? localCaller(nowMs) : null;
}

/** Whoever has this session. */
export function sessionCaller(identity: Identity, session: Session, sessions: Sessions): Caller {
  const untilMs = sessions.until(session);
  const { authTimeKnown, csrf } = session;
  return { identity, how: 'cookie', byLogin: true, authTimeKnown, csrf, untilMs, session, ci: null };
}

/** Whether the static token that a session was opened with is still in the file, and good. */
function stands({ tokenId }: Session, tokens: ServerFile['tokens'], nowMs: number): boolean {
  if (tokenId === null) return true;
  const token = tokens.find(({ id }) => id === tokenId);
  return token !== undefined && Date.parse(token.expires) > nowMs;
}

function localCaller(nowMs: number): Caller {
  const identity = { ...LOCAL, authenticatedAtMs: nowMs };
  return { identity, ...PROVED_NOW, how: 'local', csrf: null, untilMs: null, session: null, ci: null };
}

/** Whose static token this is. @throws ApiProblem `invalid-token` */
export function staticCaller(
  text: string,
  tokens: ServerFile['tokens'],
  directory: Directory,
  nowMs: number,
): { readonly identity: Identity; readonly untilMs: number; readonly tokenId: string } {
  const checked = checkStaticToken(text, tokens, nowMs);
  if (checked.kind === 'invalid') throw new ApiProblem('invalid-token', `the token is not accepted: ${checked.why}`);
  const { subject, name, kind, groups, id } = checked.token;
  const identity = directory.identify({
    subject,
    name: name ?? subject,
    kind,
    via: 'token',
    groups,
    aliases: [],
    authenticatedAtMs: nowMs,
  });
  return { identity, untilMs: checked.expiresMs, tokenId: id };
}

/** The value of one cookie. A cookie that is given twice is nobody's: one of them was planted. */
export function cookieOf(request: Request, name: string): string | null {
  const found = (request.headers.get('cookie') ?? '')
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part.startsWith(`${name}=`))
    .map((part) => part.slice(name.length + 1));
  return found.length === 1 && found[0] !== '' ? (found[0] ?? null) : null;
}

/** @throws ApiProblem where a browser sends this for another site: `cross-site`, `csrf-missing` */
export function checkOrigin(
  request: Request,
  caller: Pick<Caller, 'how' | 'csrf'>,
  origins: ReadonlySet<string>,
): void {
  if (caller.how === 'bearer') return;
  const site = request.headers.get('sec-fetch-site');
  const origin = request.headers.get('origin');
  const foreign = (site !== null && site !== 'same-origin') || (origin !== null && !origins.has(origin));
  // Browsers say where a request comes from; without a cookie it may be curl, with one it must be a browser that says so.
  const silent = site === null && origin === null && caller.how === 'cookie';
  if (foreign || silent)
    throw new ApiProblem('cross-site', `a request that changes something must come from ${[...origins][0]} itself`);
  if (caller.how !== 'cookie') return;
  if (!isOfSession(request.headers.get('x-slipway-csrf') ?? '', caller))
    throw new ApiProblem('csrf-missing', 'the header X-Slipway-CSRF is not the one of this session');
}

/**
 * A page that says of which session it is must not be given what is for another: in another tab somebody may have logged
 * out since, and somebody else in.
 * @throws ApiProblem `session-changed`
 */
export function checkSession(request: Request, caller: Pick<Caller, 'how' | 'csrf'>): void {
  const said = request.headers.get('x-slipway-csrf');
  if (said === null || caller.how !== 'cookie' || isOfSession(said, caller)) return;
  throw new ApiProblem('session-changed', 'what asks is of another login than this browser’s last one');
}

function isOfSession(said: string, { csrf }: Pick<Caller, 'csrf'>): boolean {
  const given = Buffer.from(said);
  const wanted = Buffer.from(csrf ?? '');
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
