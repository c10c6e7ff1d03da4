import type { Problem } from './contract.js';

interface Kind {
  readonly status: number;
  readonly title: string;
  readonly next: string;
}

/** Every problem that the API can answer with: docs/server.md has this table, and a test compares the two. */
export const PROBLEMS = {
  'invalid-request': {
    status: 400,
    title: 'The request is not as the API describes it',
    next: 'correct what `errors` names; /openapi.json has the shapes',
  },
  'invalid-json': { status: 400, title: 'The body is not JSON', next: 'send one JSON document' },
  'key-missing': {
    status: 400,
    title: 'There is no idempotency key',
    next: 'send the header Idempotency-Key, or idempotencyKey in the body; the same for each try',
  },
  'keys-differ': { status: 400, title: 'Header and body name two idempotency keys', next: 'send one of the two' },
  'two-credentials': {
    status: 400,
    title: 'The request carries a cookie and a bearer token',
    next: 'send one of the two',
  },
  unauthenticated: {
    status: 401,
    title: 'It is not known who you are',
    next: 'log in at /login, or send Authorization: Bearer …',
  },
  'invalid-token': {
    status: 401,
    title: 'The token is not accepted',
    next: 'get a new one; docs/server.md tells which are accepted',
  },
  'token-used': {
    status: 401,
    title: 'The token was used for another request',
    next: 'ask the runner for a new token for each request that changes something',
  },
  'login-again': {
    status: 401,
    title: 'Your login is too old for this',
    next: 'log in again at /login?fresh=1, then say it again',
  },
  'login-failed': { status: 401, title: 'The login failed', next: 'begin again at /login' },
  'cross-site': {
    status: 403,
    title: 'The request did not come from the page of this server',
    next: 'use the page itself, or a bearer token',
  },
  'csrf-missing': {
    status: 403,
    title: 'The CSRF token is missing or not the session’s',
    next: 'send the header X-Slipway-CSRF with the value that GET /me gives',
  },
  'session-changed': {
    status: 403,
    title: 'Somebody has logged in anew in this browser',
    next: 'load the page again',
  },
  forbidden: { status: 403, title: 'You may not do that', next: 'ask somebody who has the role; GET /me tells yours' },
  'not-found': {
    status: 404,
    title: 'There is nothing here',
    next: 'look at GET /runs; what you may not see is not told either',
  },
  'method-not-allowed': {
    status: 405,
    title: 'This path does not know the method',
    next: 'see the header Allow, and /openapi.json',
  },
  refused: {
    status: 409,
    title: 'The decision does not count now',
    next: 'look again with GET /runs/:id, then decide on what it is now',
  },
  'lane-busy': {
    status: 409,
    title: 'Another rollout has the lane',
    next: 'wait for it, or let the policy say whenBusy: queue',
  },
  'not-over': { status: 409, title: 'The rollout is not over', next: 'abort it first, or wait for its end' },
  gone: {
    status: 410,
    title: 'The rollout’s story is not kept any more',
    next: 'its decision record is in the evidence store, where one was written',
  },
  'body-too-large': {
    status: 413,
    title: 'The body is too large',
    next: 'send 256 KiB at most; long lists of files may be left out',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body is not sent as JSON',
    next: 'send Content-Type: application/json',
  },
  'wrong-host': {
    status: 421,
    title: 'The server is not known under this name',
    next: 'use the address that it printed at its start',
  },
  'key-reused': {
    status: 422,
    title: 'The idempotency key was used for something else',
    next: 'use a new key for a new release',
  },
  'invalid-policy': { status: 422, title: 'The policy can’t be used', next: 'correct slipway.yaml as `detail` says' },
  'no-policy': {
    status: 422,
    title: 'There is no policy for this service',
    next: 'put its slipway.yaml into the server’s folder of policies, or send slipwayYaml where the server keeps none',
  },
  'rate-limited': { status: 429, title: 'Too many requests', next: 'wait as Retry-After says' },
  internal: {
    status: 500,
    title: 'The server failed',
    next: 'say it again; nothing is done twice. The request’s id is in the server’s log',
  },
  unavailable: {
    status: 503,
    title: 'Something that the server needs can’t be reached',
    next: 'say it again in a few seconds; nothing is done twice',
  },
  'too-many-streams': {
    status: 503,
    title: 'The server has no room for another stream',
    next: 'try again later, or ask GET /runs/:id now and then',
  },
} as const satisfies Readonly<Record<string, Kind>>;
export type ProblemCode = keyof typeof PROBLEMS;

export const PROBLEM_BASE = 'https://slipway.dev/problems/';

/** An answer that is no success, said to the caller as it is. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  constructor(
    readonly code: ProblemCode,
    /** What is wrong in this case; never an exception's message. */
    detail: string,
    readonly more: {
      readonly next?: string;
      readonly errors?: Problem['errors'];
      readonly refusal?: Problem['refusal'];
      readonly headers?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(detail);
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  /** The document of RFC 9457. @param instance id of the request */
  document(instance: string): Problem {
    const { title, status, next } = PROBLEMS[this.code];
    const { errors, refusal } = this.more;
    return {
      type: `${PROBLEM_BASE}${this.code}`,
      title,
      status,
      detail: this.message,
      instance,
      next: this.more.next ?? next,
      ...(errors === undefined ? {} : { errors }),
      ...(refusal === undefined ? {} : { refusal }),
    };
  }

  response(instance: string): Response {
    return new Response(JSON.stringify(this.document(instance)), {
      status: this.status,
      headers: {
        'Content-Type': 'application/problem+json',
        'Cache-Control': 'no-store',
        ...(this.status === 401 ? { 'WWW-Authenticate': 'Bearer realm="slipway"' } : {}),
        ...this.more.headers,
      },
    });
  }
}
