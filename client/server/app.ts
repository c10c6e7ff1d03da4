import { createHash, randomUUID } from 'node:crypto';
import { getConnInfo } from '@hono/node-server/conninfo';
import { Hono } from 'hono';
import type { Context as HonoContext } from 'hono';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { authorize, RIGHTS } from '../../domain/people.js';
import type { Identity, Right } from '../../domain/people.js';
import type { LaneRef } from '../../domain/target.js';
import type { SigningKey } from '../../formats/decision-token.js';
import { CliError, EXIT } from '../exit-codes.js';
import type { Slipway } from '../slipway.js';
import { handleAlerts, undoneText } from './alerts.js';
import { authenticate, checkOrigin, checkSession, cookieOf, sessionCaller, staticCaller } from './auth/authenticate.js';
import type { Caller } from './auth/authenticate.js';
import { CiTokens } from './auth/ci.js';
import { Directory, LOCAL } from './auth/people.js';
import { OidcLogin, safeReturn } from './auth/oidc.js';
import { Sessions } from './auth/session.js';
import { matchesHash } from './auth/static-token.js';
import type { ServerConfig } from './config.js';
import type { DecisionBody, Me, StartRun } from './contract.js';
import { checkFresh, checkFreshOverHold, decide } from './decisions.js';
import { ENDPOINTS } from './endpoints.js';
import type { Access, Endpoint, EndpointId } from './endpoints.js';
import { Follower } from './follow/follower.js';
import { ListFollower } from './follow/list-follower.js';
import { EventStream, frame, runFrame } from './follow/stream.js';
import { createServerMetrics } from './metrics.js';
import { openApiDocument } from './openapi.js';
import type { Policies } from './policies.js';
import { ApiProblem, PROBLEMS } from './problems.js';
import { RateLimit } from './rate-limit.js';
import { rowFor, Runs } from './runs.js';
import type { ListFilter, Located } from './runs.js';
import type { PageData, Seams } from './seams.js';
import { slackFor } from './slack.js';
import { idempotencyKey, requestOf, retryOf, startRun, traceIdOf } from './start.js';

export const BODY_LIMIT = 256 * 1024;
const PING_MS = 15_000;
const MAX_STREAMS = 5000;
const READY_MS = 2000;

export interface AppOptions extends Seams {
  readonly config: ServerConfig;
  /** Origin that people use. */
  readonly publicUrl: string;
  readonly slipway: Slipway;
  readonly signingKey: SigningKey;
  readonly policies: Policies;
  readonly log: Logger;
  /** Waits between pings, ms; tests shorten it. */
  readonly pingMs?: number;
}

/** What is known of a request so far. */
interface Vars {
  readonly Variables: {
    requestId: string;
    endpoint?: string;
    subject?: string | undefined;
    rolloutId?: string;
    caller?: Caller | null;
    bytes?: Uint8Array;
  };
}
type Context = HonoContext<Vars>;

export interface ServerApp {
  readonly app: Hono<Vars>;
  /** Closes all streams, and ends what follows Temporal for them. */
  close(): void;
}

type Table = typeof ENDPOINTS;
type BodyOf<Id extends EndpointId> = Table[Id] extends { readonly body: z.ZodType } ? z.infer<Table[Id]['body']> : null;
type QueryOf<Id extends EndpointId> = Table[Id] extends { readonly query: z.ZodType }
  ? z.infer<Table[Id]['query']>
  : null;
type CallerOf<Id extends EndpointId> = Table[Id]['access'] extends { readonly kind: 'public' | 'alerts' | 'slack' }
  ? Caller | null
  : Caller;
type LocatedOf<Id extends EndpointId> = Table[Id]['access'] extends { readonly kind: 'run' } ? Located : null;

/** A request that has passed all checks of its endpoint's entry. */
interface Call<Id extends EndpointId> {
  readonly c: Context;
  readonly caller: CallerOf<Id>;
  readonly body: BodyOf<Id>;
  readonly query: QueryOf<Id>;
  readonly params: Readonly<Record<string, string>>;
  readonly located: LocatedOf<Id>;
}
type Handlers = { readonly [Id in EndpointId]: (call: Call<Id>) => Promise<Response> };

/** The HTTP API. Everything that a request may do is decided by its entry in `ENDPOINTS` before its handler runs. */
export function createApp(options: AppOptions): ServerApp {
  const { config, publicUrl, slipway, signingKey, policies, log, page, archive, evidence, refusals } = options;
  const { file } = config;
  const directory = new Directory(file);
  const sessions = new Sessions(config.sessionKeys, publicUrl.startsWith('https:'));
  const proofs = { directory, sessions, ci: new CiTokens(file.ci), tokens: file.tokens, local: config.local };
  const oidc = file.oidc === undefined ? null : new OidcLogin(file.oidc, config.oidcClientSecret, sessions, publicUrl);
  const follower = new Follower(
    slipway,
    (text, rolloutId) => log.warn({ rolloutId }, `following a rollout: ${text}`),
    randomUUID().slice(0, 8),
  );
  const runs = new Runs({
    slipway,
    follower,
    archive: archive ?? null,
    publicUrl,
    temporalWeb: config.temporalWeb,
    approvers: (lane) =>
      config.local ? [{ ...LOCAL, authenticatedAtMs: Date.now() }] : directory.approvers(lane, Date.now()),
  });
  const lists = new ListFollower(runs, (text) => log.warn(`following the list: ${text}`));
  const streams = new Set<EventStream>();
  const metrics = createServerMetrics({ streams: () => streams.size, followed: () => follower.followed });
  const perCaller = new RateLimit({ burst: 200, perSecond: 100 });
  const urgent = new RateLimit({ burst: 200, perSecond: 50 });
  const failures = new RateLimit({ burst: 30, perSecond: 1 });
  const starts = new RateLimit({ burst: 200, perSecond: 100 });
  const document = JSON.stringify(openApiDocument(publicUrl));
  const app = new Hono<Vars>();

  const pings = setInterval(() => {
    const ping = frame({ event: 'ping', data: { at: new Date().toISOString() } });
    for (const stream of streams) {
      if (stream.stuck) stream.close();
      else stream.send(ping);
    }
  }, options.pingMs ?? PING_MS);

  // -------------------------------------------------------------------------------------------------------------------
  // What happens to every request

  const allowedHosts = hostsOf(publicUrl, config);
  const origins = new Set([publicUrl, ...(config.local ? [...allowedHosts].map((host) => `http://${host}`) : [])]);

  app.use(async (c, next) => {
    const requestId = randomUUID();
    c.set('requestId', requestId);
    const begun = performance.now();
    await next();
    const { method } = c.req;
    const endpoint = c.get('endpoint') ?? 'none';
    const ms = performance.now() - begun;
    metrics.requests.observe({ endpoint, status: String(c.res.status) }, ms / 1000);
    // Neither path nor headers: the endpoint says what was asked, and tokens may stand in the rest.
    log[c.res.status >= 500 ? 'error' : 'info'](
      { requestId, method, endpoint, status: c.res.status, ms: Math.round(ms), subject: c.get('subject') ?? null },
      'request',
    );
    harden(c.res.headers, publicUrl);
    c.res.headers.set('X-Request-Id', requestId);
  });

  app.use(async (c, next) => {
    // A name that some web page has bound to this machine's address would let it drive a server without a login.
    if (config.local && !allowedHosts.has((c.req.header('host') ?? '').toLowerCase()))
      throw new ApiProblem(
        'wrong-host',
        `this server is not known as ${printable(c.req.header('host') ?? '(no name)')}`,
        {
          next: `use ${publicUrl}`,
        },
      );
    await next();
  });

  app.onError(async (error, c) => {
    const requestId = c.get('requestId');
    const problem = problemOf(error);
    const { status } = problem;
    metrics.refused.inc({ code: problem.code });
    if (status === 401 || status === 403 || problem.code === 'refused') tellRefusal(c, problem, requestId);
    if (problem.code === 'internal') log.error({ requestId, error: stackOf(error) }, 'a request failed');
    const html =
      status !== 409 && wantsHtml(c)
        ? await pageOf(c, { page: 'problem', me: null, problem: problem.document(requestId) })
        : null;
    if (html === null) return problem.response(requestId);
    return new Response(html.body, { status, headers: html.headers });
  });

  function tellRefusal(c: Context, problem: ApiProblem, requestId: string): void {
    const entry = {
      at: new Date().toISOString(),
      requestId,
      subject: c.get('subject') ?? null,
      method: c.req.method,
      route: c.get('endpoint') ?? 'none',
      status: problem.status,
      code: problem.code,
      text: problem.message,
      rolloutId: c.get('rolloutId') ?? null,
    };
    if (refusals !== undefined) refusals.refused(entry);
    else log.warn(entry, 'refused');
  }

  function addressOf(c: Context): string {
    const peer = getConnInfo(c).remote.address ?? 'unknown';
    if (!config.trustedProxies.includes(peer)) return peer;
    // The last that a trusted proxy has added; what stands before it is the caller's own word.
    return c.req.header('x-forwarded-for')?.split(',').at(-1)?.trim() ?? peer;
  }

  async function callerOf(c: Context): Promise<Caller | null> {
    const known = c.get('caller');
    if (known !== undefined) return known;
    let caller: Caller | null;
    try {
      caller = await authenticate(c.req.raw, proofs);
    } catch (error) {
      // Guessing gets slower and slower; whoever has a good token does not notice.
      if (error instanceof ApiProblem && error.status === 401) failures.take(addressOf(c));
      throw error;
    }
    c.set('caller', caller);
    c.set('subject', caller?.identity.subject);
    if (caller?.session != null) {
      const renewed = sessions.renewed(caller.session);
      if (renewed !== null) c.header('Set-Cookie', await sessions.setCookie(renewed), { append: true });
    }
    return caller;
  }

  async function signedIn(c: Context): Promise<Caller> {
    const caller = await callerOf(c);
    if (caller !== null) return caller;
    const next = 'send Authorization: Bearer …, or open a session with POST /login/token';
    throw new ApiProblem(
      'unauthenticated',
      'the request carries neither a session nor a token',
      oidc === null ? { next } : {},
    );
  }

  /** The rollout of the path, for one who may see it: for all others it does not exist. */
  async function visible(c: Context, caller: Caller, rolloutId: string): Promise<Located> {
    c.set('rolloutId', rolloutId);
    const located = await runs.locate(rolloutId);
    if (located === null || authorize(caller.identity, 'view', located.ref.lane).kind === 'denied')
      throw new ApiProblem('not-found', `there is no rollout ${rolloutId} that you may see`);
    return located;
  }

  function demand(identity: Identity, right: Right, lane: LaneRef): void {
    const allowed = authorize(identity, right, lane);
    if (allowed.kind === 'allowed') return;
    if (allowed.hidden)
      throw new ApiProblem('not-found', `there is no ${lane.service} in ${lane.environment} that you may see`);
    throw new ApiProblem('forbidden', allowed.text);
  }

  async function admit<Id extends EndpointId>(id: Id, endpoint: Endpoint, c: Context): Promise<Call<Id>> {
    const access: Access = endpoint.access;
    const unsafe = endpoint.method !== 'get';
    c.set('endpoint', id);
    // Its signature is over the bytes of the body: what Slack says is read behind its own door.
    if (access.kind === 'slack') return { c } as unknown as Call<Id>;
    let caller: Caller | null = null;
    if (access.kind === 'alerts') {
      const bearer = /^Bearer (\S+)$/.exec(c.req.header('authorization') ?? '')?.[1];
      const known = bearer !== undefined && matchesHash(bearer, config.alertTokens);
      if (!known && !(config.local && config.alertTokens.length === 0)) {
        failures.take(addressOf(c));
        throw new ApiProblem(
          'unauthenticated',
          'this is for Alertmanager, with the token whose SHA-256 is in SLIPWAY_ALERTS_TOKEN_SHA256',
          {
            next: 'set http_config.authorization.credentials in Alertmanager’s webhook_config',
          },
        );
      }
      if (!known) checkOrigin(c.req.raw, { how: 'local', csrf: null }, origins);
      c.set('subject', 'alertmanager');
    } else if (access.kind !== 'public') {
      caller = await signedIn(c);
      if (unsafe) checkOrigin(c.req.raw, caller, origins);
      else checkSession(c.req.raw, caller);
    } else if (unsafe) checkOrigin(c.req.raw, { how: 'local', csrf: null }, origins);

    const params = paramsOf(endpoint, c);
    const located =
      access.kind === 'run' && caller !== null ? await visible(c, caller, params['rolloutId'] ?? '') : null;
    const query = endpoint.query === undefined ? null : valid(endpoint.query, c.req.query(), '');
    const body = endpoint.body === undefined ? null : await bodyOf(endpoint.body, c);
    if (caller !== null) {
      if (access.kind === 'lane') demand(caller.identity, access.right, laneOf(body));
      if (access.kind === 'run' && located !== null)
        demand(caller.identity, access.right === 'verb' ? (body as DecisionBody).verb : access.right, located.ref.lane);
      // What takes traffic back is never slowed down by what else somebody asks.
      const goesBack = id === 'decide' && ['abort', 'reject', 'pause'].includes((body as DecisionBody).verb);
      (goesBack ? urgent : id === 'startRun' ? starts : perCaller).take(caller.identity.subject);
      if (unsafe && caller.ci !== null)
        proofs.ci.use(caller.ci, {
          method: c.req.method,
          path: c.req.path,
          body: c.get('bytes') ?? new Uint8Array(),
        });
    } else perCaller.take(`address ${addressOf(c)}`);
    return { c, caller, body, query, params, located } as unknown as Call<Id>;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Pages: the same paths, for browsers

  function wantsHtml(c: Context): boolean {
    return (
      page !== undefined &&
      (c.req.method === 'GET' || c.req.method === 'HEAD') &&
      (c.req.header('accept') ?? '').includes('text/html')
    );
  }

  function pageOf(c: Context, data: PageData | null): Response | Promise<Response> | null {
    return page?.handle(c.req.raw, data) ?? null;
  }

  const loginWays = { oidc: oidc === null ? null : '/login/oidc', tokens: file.tokens.length > 0 };

  async function showPage(c: Context, draw: (caller: Caller) => Promise<PageData>): Promise<Response> {
    c.set('endpoint', 'page');
    const caller = await callerOf(c);
    const { pathname, search } = new URL(c.req.url);
    const data: PageData =
      caller === null
        ? { page: 'login', login: loginWays, back: safeReturn(`${pathname}${search}`), fresh: false, notice: null }
        : await draw(caller).catch((error: unknown) => {
            const problem = problemOf(error);
            if (problem.code === 'internal') throw error;
            return { page: 'problem' as const, me: meOf(caller), problem: problem.document(c.get('requestId')) };
          });
    const shown = await pageOf(c, data);
    if (shown === null) throw new ApiProblem('not-found', 'there is no page here');
    const status = data.page === 'problem' ? data.problem.status : shown.status;
    const headers = new Headers(shown.headers);
    headers.append('Vary', 'Accept');
    return new Response(shown.body, { status, headers });
  }

  const listPage = async (caller: Caller): Promise<PageData> => {
    const [open, ended] = await Promise.all([
      runs.list(caller.identity, { state: 'open', limit: 100 }),
      runs.list(caller.identity, { state: 'ended', limit: 20 }),
    ]);
    return { page: 'list', me: meOf(caller), runs: open, ended };
  };
  const runPage =
    (c: Context, rolloutId: string) =>
    async (caller: Caller): Promise<PageData> => {
      if (!/^[0-9a-f]{16}$/.test(rolloutId)) throw new ApiProblem('not-found', 'that is no id of a rollout');
      const located = await visible(c, caller, rolloutId);
      return {
        page: 'rollout',
        me: meOf(caller),
        run: runs.document(await runs.view(located), caller.identity, await liveOf(located)),
      };
    };

  async function liveOf(located: Located) {
    return located.archived === null ? follower.live(located.ref) : null;
  }

  app.get('/', async (c, next) => (wantsHtml(c) ? showPage(c, listPage) : next()));
  app.get('/runs', async (c, next) => (wantsHtml(c) ? showPage(c, listPage) : next()));
  for (const path of ['/runs/:rolloutId', '/rollouts/:rolloutId'] as const)
    app.get(path, async (c, next) => (wantsHtml(c) ? showPage(c, runPage(c, c.req.param('rolloutId'))) : next()));

  function meOf({ identity, csrf, untilMs }: Caller): Me {
    const roles = new Set(identity.grants.map(({ role }) => role));
    const lanes = identity.grants.flatMap(({ services, environments }) =>
      services.flatMap((service) => environments.map((environment) => ({ service, environment }))),
    );
    const names = Object.keys(RIGHTS) as readonly Right[];
    return {
      identity,
      csrf,
      local: config.local,
      until: untilMs === null ? null : new Date(untilMs).toISOString(),
      rights:
        roles.size === 0
          ? []
          : names.filter((right) => lanes.some((lane) => authorize(identity, right, lane).kind === 'allowed')),
    };
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Streams

  function openStream(c: Context, caller: Caller, follow: (stream: EventStream) => () => void): Response {
    const headers = {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-cache, no-transform',
      'X-Accel-Buffering': 'no',
    };
    // Nobody would read it, and nobody would close it.
    if (c.req.method === 'HEAD') return c.body(null, 200, headers);
    if (streams.size >= MAX_STREAMS) throw new ApiProblem('too-many-streams', `${MAX_STREAMS} streams are open`);
    let stop: () => void = () => undefined;
    let expiry: NodeJS.Timeout | null = null;
    const stream: EventStream = new EventStream(
      () => {
        streams.delete(stream);
        if (expiry !== null) clearTimeout(expiry);
        stop();
      },
      1000 + Math.floor(Math.random() * 4000),
    );
    streams.add(stream);
    if (caller.untilMs !== null)
      expiry = setTimeout(
        () => stream.end('your session is over: log in again'),
        Math.min(caller.untilMs - Date.now(), 2 ** 31 - 1),
      );
    try {
      stop = follow(stream);
    } catch (error) {
      stream.close();
      throw error;
    }
    return c.body(stream.body, 200, headers);
  }

  /** What somebody has seen: null where nothing, or by another process. */
  function seenSeq(c: Context, stream: EventStream): number | null {
    const last = c.req.header('last-event-id');
    if (last === undefined || last === '') return null;
    const [, epoch, seq] = /^([0-9a-f]{8}):(\d{1,15})$/.exec(last) ?? [];
    if (epoch === follower.epoch) return Number(seq);
    stream.send(
      frame({ event: 'resync', data: { reason: 'what you have seen was of another process: this is how it is now' } }),
    );
    return null;
  }

  const slack = slackFor({
    config,
    publicUrl,
    slipway,
    signingKey,
    directory,
    runs,
    log,
    refusals,
    onDecided({ rolloutId, verb, result }) {
      metrics.decisions.inc({ verb, result });
      follower.stale(rolloutId);
    },
  });
  async function toSlack({ c }: { readonly c: Context }): Promise<Response> {
    if (slack === null)
      throw new ApiProblem('not-found', 'no Slack is set up here', { next: 'docs/slack.md tells how to' });
    return slack.fetch(c.req.raw);
  }

  const handlers: Handlers = {
    async startRun({ c, caller, body }) {
      const key = idempotencyKey(c.req.header('idempotency-key') ?? null, body.idempotencyKey);
      const asked = await requestOf(caller.identity, body as StartRun & { tenant: string }, key, policies);
      const { status, body: started } = await startRun(slipway, runs, asked, traceIdOf(c.req.header('traceparent')));
      return c.json(started, status);
    },
    async listRuns({ c, caller, query }) {
      c.header('Vary', 'Accept');
      return c.json(await runs.list(caller.identity, query as ListFilter));
    },
    async getRun({ c, caller, located }) {
      c.header('Vary', 'Accept');
      return c.json(runs.document(await runs.view(located), caller.identity, await liveOf(located)));
    },
    async followRun({ c, caller, located }) {
      if (located.archived !== null) {
        const { view } = located.archived;
        return openStream(c, caller, (stream) => {
          stream.send(runFrame(runs.document(view, caller.identity, null)));
          stream.end('the rollout is over');
          return () => undefined;
        });
      }
      const { ref } = located;
      // Asked before the stream is open: what can't be shown is a problem, not an empty stream.
      await runs.view(located);
      return openStream(c, caller, (stream) => {
        const seen = seenSeq(c, stream);
        return follower.follow(ref, (change) => {
          if (change.kind === 'end') return stream.end(change.reason);
          if (change.seq === seen) return;
          const id = `${follower.epoch}:${change.seq}`;
          if (change.kind === 'live') return stream.send(frame({ event: 'live', data: change.live }, id));
          runs.viewOf(change.found, ref).then(
            (view) => {
              if (view !== null) stream.send(runFrame(runs.document(view, caller.identity, change.live), id));
            },
            (error: unknown) => log.warn({ rolloutId: ref.rolloutId }, `a change could not be told: ${String(error)}`),
          );
        });
      });
    },
    async followList({ c, caller }) {
      return openStream(c, caller, (stream) => {
        const seen = seenSeq(c, stream);
        let shown = '';
        return lists.follow((rows, seq) => {
          if (seq === seen) return;
          const mine = rows.map((row) => rowFor(row, caller.identity)).filter((row) => row !== null);
          // Not the text itself: many watch, and each sees a list of their own.
          const digest = createHash('sha256').update(JSON.stringify(mine)).digest('base64');
          if (digest === shown) return;
          shown = digest;
          const data = { runs: mine, next: null, asOf: new Date().toISOString() };
          stream.send(frame({ event: 'runs', data }, `${follower.epoch}:${seq}`));
        });
      });
    },
    async decide({ c, caller, body, located }) {
      const said = body as DecisionBody;
      try {
        checkFresh(caller, said.verb, oidc?.decideWithinMs ?? Infinity, Date.now());
        if (located.archived !== null) throw new ApiProblem('refused', 'this rollout is over', { refusal: 'finished' });
        await checkFreshOverHold(slipway, caller, located.ref, said.verb, Date.now());
        const { status, answer } = await decide({ slipway, key: signingKey }, caller, located.ref, said);
        metrics.decisions.inc({ verb: said.verb, result: answer.kind });
        follower.stale(located.ref.rolloutId);
        return c.json(answer, status);
      } catch (error) {
        if (error instanceof ApiProblem) metrics.decisions.inc({ verb: said.verb, result: error.code });
        throw error;
      }
    },
    async retry({ c, caller, body, located }) {
      const key = idempotencyKey(c.req.header('idempotency-key') ?? null, body.idempotencyKey);
      const request = await retryOf(caller.identity, await runs.view(located), key, policies);
      const asked = { request, remarks: [] };
      const { status, body: started } = await startRun(slipway, runs, asked, traceIdOf(c.req.header('traceparent')));
      return c.json(started, status);
    },
    async getTrail({ c, located }) {
      const entries = (await archive?.trail(located.ref)) ?? null;
      if (entries === null) throw new ApiProblem('gone', 'no trail of this rollout is kept here');
      return c.json({ entries });
    },
    async getRecord({ c, located }) {
      const { rolloutId } = located.ref;
      const archived = located.archived ?? (await archive?.find(rolloutId)) ?? null;
      const record = archived?.record ?? (await recordFromEvidence(located));
      c.header('Content-Disposition', `attachment; filename="rollout-${rolloutId}.json"`);
      return c.json(record as Record<string, unknown>);
    },
    async getEvidence({ c, located, params }) {
      const view = await runs.view(located);
      const digest = params['digest'] ?? '';
      if (!view.verdicts.some((verdict) => verdict.evidence === digest))
        throw new ApiProblem('not-found', 'no verdict of this rollout rests on evidence of this digest');
      const found = (await evidence?.get(digest)) ?? null;
      if (found === null) throw new ApiProblem('gone', 'the evidence is not kept here');
      c.header('Cache-Control', 'private, max-age=31536000, immutable');
      return c.json(found as Record<string, unknown>);
    },
    async me({ c, caller }) {
      return c.json(meOf(caller));
    },
    async login({ c, query }) {
      const back = safeReturn(query.return);
      const fresh = query.fresh !== undefined;
      if (wantsHtml(c)) {
        const caller = await callerOf(c);
        if (caller !== null && caller.how !== 'local' && !fresh) return c.redirect(back);
        const shown = await pageOf(c, { page: 'login', login: loginWays, back, fresh, notice: null });
        if (shown !== null) return shown;
      }
      return beginLogin(c, back, fresh);
    },
    async loginOidc({ c, query }) {
      return beginLogin(c, safeReturn(query.return), query.fresh !== undefined);
    },
    async loginCallback({ c }) {
      const state = c.req.query('state') ?? '';
      if (oidc === null || !/^[A-Za-z0-9_-]{20,100}$/.test(state))
        throw new ApiProblem('login-failed', 'this is no answer to a login of ours');
      const cookie = cookieOf(c.req.raw, sessions.loginCookie(state));
      const login = cookie === null ? null : await sessions.readLogin(cookie);
      if (login === null || login.state !== state)
        throw new ApiProblem('login-failed', 'this login was not begun in this browser, or more than 10 minutes ago');
      const { proved, authTimeKnown } = await oidc.finish(new URL(c.req.url).search, login);
      c.set('subject', proved.subject);
      c.header('Set-Cookie', sessions.clearLogin(state), { append: true });
      c.header('Set-Cookie', await sessions.setCookie(sessions.begin(proved, { authTimeKnown })), { append: true });
      return c.redirect(login.back);
    },
    async loginToken({ c, body }) {
      let checked;
      try {
        checked = staticCaller(body.token, file.tokens, directory, Date.now());
      } catch (error) {
        failures.take(addressOf(c));
        throw error;
      }
      const { identity, untilMs, tokenId } = checked;
      const proved = { ...identity, via: 'token' } as const;
      const session = sessions.begin(proved, { endsMs: untilMs, tokenId, authTimeKnown: true });
      c.set('subject', identity.subject);
      c.header('Set-Cookie', await sessions.setCookie(session), { append: true });
      return c.json(meOf(sessionCaller(identity, session, sessions)));
    },
    async loginCommand({ c, caller }) {
      if (caller.session === null)
        throw new ApiProblem('forbidden', 'a token for the command line is made from a login in the browser');
      const { token, untilMs } = await sessions.commandToken(caller.session);
      return c.json({ token, until: new Date(untilMs).toISOString() }, 200, { 'Cache-Control': 'no-store' });
    },
    async logout({ c }) {
      c.header('Set-Cookie', sessions.clearCookie(), { append: true });
      return c.body(null, 204);
    },
    async alerts({ c, body }) {
      const answers = await handleAlerts({ slipway, key: signingKey }, body.alerts);
      for (const answer of answers) {
        metrics.alerts.inc({ did: answer.did });
        const entry = { requestId: c.get('requestId'), ...answer };
        if (answer.did === 'failed') log.error(entry, 'an alert could not be acted upon');
        else log.info(entry, 'alert');
        if (answer.rolloutId !== null) follower.stale(answer.rolloutId);
      }
      const failed = answers.filter((answer) => answer.did === 'failed');
      // Alertmanager says it all again then, and what was done is not done twice.
      if (failed.length > 0)
        throw new ApiProblem('unavailable', undoneText(failed, answers.length), { headers: { 'Retry-After': '5' } });
      return c.json({ alerts: answers });
    },
    slackInteractions: toSlack,
    slackCommands: toSlack,
    slackEvents: toSlack,
    async openapi({ c }) {
      return c.body(document, 200, { 'Content-Type': 'application/json' });
    },
    async healthz({ c }) {
      return c.text('ok\n');
    },
    async readyz({ c }) {
      try {
        await slipway.client.connection.withDeadline(Date.now() + READY_MS, () =>
          slipway.client.connection.workflowService.getSystemInfo({}),
        );
      } catch {
        // The address is the operator's to know: it stands in the log of the start.
        return c.text('Temporal does not answer\n', 503);
      }
      const why = await oidc?.notReady();
      return c.text(why == null ? 'ready\n' : `ready, but nobody can log in: ${why}\n`);
    },
    async metrics({ c }) {
      return c.body(await metrics.registry.metrics(), 200, { 'Content-Type': metrics.registry.contentType });
    },
  };

  async function beginLogin(c: Context, back: string, fresh: boolean): Promise<Response> {
    if (oidc === null)
      throw new ApiProblem('not-found', 'no identity provider is set up here', {
        next: config.local ? 'none is needed: this server knows no login' : 'open a session with POST /login/token',
      });
    const { location, cookie } = await oidc.begin(back, fresh);
    c.header('Set-Cookie', cookie, { append: true });
    return c.redirect(location);
  }

  async function recordFromEvidence(located: Located): Promise<unknown> {
    const view = await runs.view(located);
    if (view.outcome === null)
      throw new ApiProblem('not-over', `rollout ${view.rolloutId} is not over: ${view.status}`);
    const digest = await slipway.recordDigest(located.ref);
    const record = digest === null ? null : await evidence?.get(digest);
    if (record == null) throw new ApiProblem('gone', 'the decision record of this rollout is not kept here');
    return record;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Routes

  const methods = new Map<string, string[]>();
  for (const [id, endpoint] of Object.entries(ENDPOINTS) as readonly [EndpointId, Endpoint][]) {
    const path = endpoint.path.replaceAll(/\{(\w+)\}/g, ':$1');
    const run = handlers[id] as (call: Call<EndpointId>) => Promise<Response>;
    const handler = async (c: Context): Promise<Response> => run(await admit(id, endpoint, c));
    if (endpoint.method === 'get') app.get(path, handler);
    else app.post(path, handler);
    methods.set(path, [...(methods.get(path) ?? []), ...(endpoint.method === 'get' ? ['GET', 'HEAD'] : ['POST'])]);
  }
  for (const [path, allowed] of methods)
    app.all(path, (c) => {
      throw new ApiProblem('method-not-allowed', `${printable(c.req.method)} is not known here`, {
        headers: { Allow: allowed.join(', ') },
      });
    });
  app.notFound(async (c) => {
    const asset = c.req.method === 'GET' || c.req.method === 'HEAD' ? await pageOf(c, null) : null;
    if (asset !== null) return asset;
    throw new ApiProblem('not-found', 'this path is none of the API’s', { next: 'see /openapi.json' });
  });

  return {
    app,
    close() {
      clearInterval(pings);
      follower.close();
      lists.close();
      // Without an `end`: whoever follows comes back, to this server or another.
      for (const stream of streams) stream.close();
    },
  };
}

function paramsOf(endpoint: Endpoint, c: Context): Readonly<Record<string, string>> {
  const params: Record<string, string> = {};
  for (const [name, schema] of Object.entries(endpoint.params ?? {})) {
    const read = schema.safeParse(c.req.param(name));
    // What is no id names nothing: whoever guesses learns no more than that.
    if (!read.success) throw new ApiProblem('not-found', `that is no ${name}`);
    params[name] = String(read.data);
  }
  return params;
}

/** The bytes of the body. A body that is too large is not read to its end. */
async function readBody(c: Context): Promise<Uint8Array> {
  const tooLarge = (): ApiProblem =>
    new ApiProblem('body-too-large', `the body has more than ${BODY_LIMIT / 1024} KiB`, {
      headers: { Connection: 'close' },
    });
  if (Number(c.req.header('content-length') ?? 0) > BODY_LIMIT) throw tooLarge();
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
      size += part.length;
      // Leaving the loop cancels the rest.
      if (size > BODY_LIMIT) throw tooLarge();
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof ApiProblem) throw error;
    // Whoever sent it has gone away in the middle.
    throw new ApiProblem('invalid-json', 'the body was cut off');
  }
  return Buffer.concat(parts);
}

async function bodyOf(schema: z.ZodType, c: Context): Promise<unknown> {
  const type = (c.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') throw new ApiProblem('unsupported-media-type', 'the body must be application/json');
  const bytes = await readBody(c);
  c.set('bytes', bytes);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new ApiProblem('invalid-json', 'the body can’t be read as JSON in UTF-8');
  }
  return valid(schema, document, '');
}

function valid(schema: z.ZodType, value: unknown, prefix: string): unknown {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const errors = read.error.issues.slice(0, 20).map((issue) => ({
    pointer:
      `${prefix}/${issue.path.map((step) => String(step).replaceAll('~', '~0').replaceAll('/', '~1')).join('/')}`.slice(
        0,
        300,
      ),
    detail:
      issue.code === 'unrecognized_keys'
        ? `not known: ${issue.keys.slice(0, 5).map(printable).join(', ')}`
        : issue.message.slice(0, 300),
  }));
  const [first] = errors;
  throw new ApiProblem(
    'invalid-request',
    `${first?.pointer === '/' ? 'the request' : first?.pointer}: ${first?.detail}`,
    { errors },
  );
}

function laneOf(body: unknown): LaneRef {
  const { payload } = body as StartRun;
  return { service: payload.service, environment: payload.environment };
}

/** What a caller hears of an error: a problem as it is, everything else without its text. */
function problemOf(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  if (error instanceof CliError && error.exitCode === EXIT.unavailable)
    return new ApiProblem('unavailable', 'Temporal or its workers do not answer', { headers: { 'Retry-After': '5' } });
  if (error instanceof CliError && error.exitCode === EXIT.usage)
    return new ApiProblem('not-found', 'there is no such rollout');
  return new ApiProblem('internal', PROBLEMS.internal.title);
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** A caller's text, harmless and short. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100);
}

/** The names under which a server without a login may be asked. */
function hostsOf(publicUrl: string, { local }: ServerConfig): ReadonlySet<string> {
  const { host, port } = new URL(publicUrl);
  const names = ['localhost', '127.0.0.1', '[::1]'].map((name) => (port === '' ? name : `${name}:${port}`));
  return new Set(local ? [host, ...names] : [host]);
}

function harden(headers: Headers, publicUrl: string): void {
  const defaults: Readonly<Record<string, string>> = {
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'Cache-Control': 'no-store',
    ...(publicUrl.startsWith('https:') ? { 'Strict-Transport-Security': 'max-age=31536000' } : {}),
  };
  for (const [name, value] of Object.entries(defaults)) if (!headers.has(name)) headers.set(name, value);
}
