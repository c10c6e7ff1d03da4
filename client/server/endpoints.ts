/**
 * Every endpoint of the API: its place, who may use it, what it takes and gives. Routes, checks, the OpenAPI document,
 * and the test that goes through all roles, are made from this one table.
 */
import type { z } from '@hono/zod-openapi';
import type { Right } from '../../domain/people.js';
import type { ProblemCode } from './problems.js';
import {
  AlertsBody,
  ANSWERS,
  DecideBody,
  DigestText,
  ListQuery,
  LoginQuery,
  RetryBody,
  RunId,
  SLACK_BODIES,
  StartRunBody,
  TokenBody,
} from './schemas.js';

/** Who may use an endpoint. */
export type Access =
  /** Anybody: nothing of any rollout is told. */
  | { readonly kind: 'public' }
  /** Whoever is logged in; what is told is what this person may see. */
  | { readonly kind: 'signed-in' }
  /** Whoever may `view` the rollout, and has the right besides; `verb`: the right that the body's verb names. */
  | { readonly kind: 'run'; readonly right: Right | 'verb' }
  /** Whoever has the right for the lane that the body names. */
  | { readonly kind: 'lane'; readonly right: Right }
  /** Alertmanager, by a secret of its own. */
  | { readonly kind: 'alerts' }
  /** Slack, by its signature over the body; whom it speaks for is looked up in the server's file. */
  | { readonly kind: 'slack' };

export interface Endpoint {
  readonly method: 'get' | 'post';
  /** As OpenAPI writes it. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly access: Access;
  readonly params?: Readonly<Record<string, z.ZodType>>;
  readonly query?: z.ZodType;
  /** JSON, unless `bodyType` says otherwise. */
  readonly body?: z.ZodType;
  readonly bodyType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly answers: Readonly<
    Record<number, { readonly description: string; readonly schema?: z.ZodType; readonly type?: string }>
  >;
  /** Besides those that its access, its body and the server itself bring. */
  readonly problems: readonly ProblemCode[];
}

const PUBLIC = { kind: 'public' } as const;
const SIGNED_IN = { kind: 'signed-in' } as const;
const VIEW = { kind: 'run', right: 'view' } as const;
const RUN = { rolloutId: RunId } as const;
/** What Slack is answered at each of its three addresses, in its own shapes: see docs/slack.md. */
const TO_SLACK = {
  200: { description: 'What Slack shall show, or nothing.', type: 'application/json' },
  400: { description: 'The body makes no sense.', type: 'text/plain' },
  401: { description: 'Not signed by Slack, or more than 5 minutes ago.', type: 'text/plain' },
  413: { description: 'The body has more than 1 MiB.', type: 'text/plain' },
} as const;
const FORM = 'application/x-www-form-urlencoded';

export const ENDPOINTS = {
  startRun: {
    method: 'post',
    path: '/runs',
    summary: 'Ask for a rollout',
    description:
      'Nothing happens before policy, rights and idempotency are checked. The same key and payload give the same rollout for 30 days.',
    access: { kind: 'lane', right: 'deploy' },
    headers: {
      'Idempotency-Key': 'Required, unless the body has idempotencyKey; bare or in quotes.',
      traceparent: 'W3C trace context; its trace id is answered.',
    },
    body: StartRunBody,
    answers: {
      200: { description: 'The key was known: the same rollout.', schema: ANSWERS.StartedRun },
      202: { description: 'It runs, or waits.', schema: ANSWERS.StartedRun },
    },
    problems: ['key-missing', 'keys-differ', 'lane-busy', 'key-reused', 'invalid-policy', 'no-policy'],
  },
  listRuns: {
    method: 'get',
    path: '/runs',
    summary: 'List rollouts, newest first',
    description: 'What was started a moment ago may be missing: read it by its id.',
    access: SIGNED_IN,
    query: ListQuery,
    answers: { 200: { description: 'Those that you may see.', schema: ANSWERS.RunList } },
    problems: [],
  },
  getRun: {
    method: 'get',
    path: '/runs/{rolloutId}',
    summary: 'Show one rollout, and what you may do to it now',
    access: VIEW,
    params: RUN,
    answers: { 200: { description: 'The rollout.', schema: ANSWERS.RunDocument } },
    problems: ['gone'],
  },
  followRun: {
    method: 'get',
    path: '/runs/{rolloutId}/events',
    summary: 'Follow one rollout by server-sent events: run, live, ping, resync, end',
    access: VIEW,
    params: RUN,
    headers: { 'Last-Event-ID': 'The id of the last event that was seen.' },
    answers: { 200: { description: 'Events until the rollout or the session ends.', type: 'text/event-stream' } },
    problems: ['gone', 'too-many-streams'],
  },
  followList: {
    method: 'get',
    path: '/events',
    summary:
      'Follow the list by server-sent events: runs (all in flight and those that ended lately), ping, resync, end',
    access: SIGNED_IN,
    headers: { 'Last-Event-ID': 'The id of the last event that was seen.' },
    answers: { 200: { description: 'Events until the session ends.', type: 'text/event-stream' } },
    problems: ['too-many-streams'],
  },
  decide: {
    method: 'post',
    path: '/runs/{rolloutId}/decisions',
    summary: 'Approve, reject, pause, resume, promote, abort',
    description: 'Who decides is the authenticated person. Saying it again with the same id counts once.',
    access: { kind: 'run', right: 'verb' },
    params: RUN,
    body: DecideBody,
    answers: {
      200: { description: 'It counts.', schema: ANSWERS.DecisionAnswer },
      202: { description: 'Recorded: no worker is up, it counts as soon as one is.', schema: ANSWERS.DecisionAnswer },
    },
    problems: ['refused', 'login-again', 'gone'],
  },
  retry: {
    method: 'post',
    path: '/runs/{rolloutId}/retry',
    summary: 'A new rollout of the same release under the same policy',
    access: { kind: 'run', right: 'retry' },
    params: RUN,
    headers: { 'Idempotency-Key': 'Required, unless the body has idempotencyKey.' },
    body: RetryBody,
    answers: {
      200: { description: 'The key was known: the same rollout.', schema: ANSWERS.StartedRun },
      202: { description: 'It runs, or waits.', schema: ANSWERS.StartedRun },
    },
    problems: ['key-missing', 'keys-differ', 'not-over', 'refused', 'no-policy', 'lane-busy', 'key-reused', 'gone'],
  },
  getTrail: {
    method: 'get',
    path: '/runs/{rolloutId}/trail',
    summary: 'The hash-linked trail of a rollout',
    access: VIEW,
    params: RUN,
    answers: { 200: { description: 'All entries, in order.', schema: ANSWERS.Trail } },
    problems: ['gone'],
  },
  getRecord: {
    method: 'get',
    path: '/runs/{rolloutId}/record',
    summary: 'The decision record of a rollout that is over',
    access: VIEW,
    params: RUN,
    answers: { 200: { description: 'The record, as `slipway judge` takes it.', type: 'application/json' } },
    problems: ['not-over', 'gone'],
  },
  getEvidence: {
    method: 'get',
    path: '/runs/{rolloutId}/evidence/{digest}',
    summary: 'The samples behind a verdict of this rollout',
    access: VIEW,
    params: { rolloutId: RunId, digest: DigestText },
    answers: { 200: { description: 'The samples.', type: 'application/json' } },
    problems: ['gone'],
  },
  me: {
    method: 'get',
    path: '/me',
    summary: 'Who you are here, and the CSRF token of your session',
    access: SIGNED_IN,
    answers: { 200: { description: 'You.', schema: ANSWERS.Me } },
    problems: [],
  },
  login: {
    method: 'get',
    path: '/login',
    summary: 'Where to log in',
    access: PUBLIC,
    query: LoginQuery,
    answers: {
      200: { description: 'The page with the ways to log in.', type: 'text/html' },
      302: { description: 'To the identity provider.' },
    },
    problems: ['unavailable', 'not-found'],
  },
  loginOidc: {
    method: 'get',
    path: '/login/oidc',
    summary: 'Log in at the identity provider; ?return= names the path to come back to, ?fresh=1 asks for a new login',
    access: PUBLIC,
    query: LoginQuery,
    answers: { 302: { description: 'To the identity provider.' } },
    problems: ['unavailable', 'not-found'],
  },
  loginCallback: {
    method: 'get',
    path: '/login/callback',
    summary: 'Where the identity provider sends people back to',
    access: PUBLIC,
    answers: { 302: { description: 'Logged in, back to where it began.' } },
    problems: ['login-failed', 'unavailable', 'not-found'],
  },
  loginToken: {
    method: 'post',
    path: '/login/token',
    summary: 'Open a session with a static token',
    access: PUBLIC,
    body: TokenBody,
    answers: { 200: { description: 'You; the cookie is set.', schema: ANSWERS.Me } },
    problems: ['invalid-token', 'cross-site'],
  },
  loginCommand: {
    method: 'post',
    path: '/login/command',
    summary: 'A token for the command line, for as long as the session lasts; to be taken from the page by a person',
    access: SIGNED_IN,
    answers: { 200: { description: 'The token, shown once.', schema: ANSWERS.CommandToken } },
    problems: ['forbidden'],
  },
  logout: {
    method: 'post',
    path: '/logout',
    summary: 'End the session',
    access: SIGNED_IN,
    answers: { 204: { description: 'The cookie is gone.' } },
    problems: [],
  },
  alerts: {
    method: 'post',
    path: '/alerts',
    summary: 'Alertmanager’s webhook: a firing alert takes a running canary back, or holds it, as the policy says',
    access: { kind: 'alerts' },
    body: AlertsBody,
    answers: { 200: { description: 'What came of each alert.', schema: ANSWERS.Alerted } },
    problems: [],
  },
  slackInteractions: {
    method: 'post',
    path: '/slack/interactions',
    summary: 'Slack’s buttons and dialogs: each is a decision of the person whom the Slack user is linked to',
    access: { kind: 'slack' },
    body: SLACK_BODIES.SlackInteraction,
    bodyType: FORM,
    answers: TO_SLACK,
    problems: ['not-found'],
  },
  slackCommands: {
    method: 'post',
    path: '/slack/commands',
    summary: 'Slack’s slash command',
    access: { kind: 'slack' },
    body: SLACK_BODIES.SlackCommand,
    bodyType: FORM,
    answers: TO_SLACK,
    problems: ['not-found'],
  },
  slackEvents: {
    method: 'post',
    path: '/slack/events',
    summary: 'Where Slack makes sure that the address is ours; no event is asked for',
    access: { kind: 'slack' },
    body: SLACK_BODIES.SlackEvent,
    answers: TO_SLACK,
    problems: ['not-found'],
  },
  openapi: {
    method: 'get',
    path: '/openapi.json',
    summary: 'This document',
    access: PUBLIC,
    answers: { 200: { description: 'OpenAPI 3.1.', type: 'application/json' } },
    problems: [],
  },
  healthz: {
    method: 'get',
    path: '/healthz',
    summary: 'The process lives',
    access: PUBLIC,
    answers: { 200: { description: 'ok', type: 'text/plain' } },
    problems: [],
  },
  readyz: {
    method: 'get',
    path: '/readyz',
    summary: 'It can serve: Temporal answers',
    access: PUBLIC,
    answers: {
      200: { description: 'ready, with what is degraded', type: 'text/plain' },
      503: { description: 'why not', type: 'text/plain' },
    },
    problems: [],
  },
  metrics: {
    method: 'get',
    path: '/metrics',
    summary: 'Prometheus metrics; no label names a rollout, a service or a person',
    access: PUBLIC,
    answers: { 200: { description: 'Prometheus text format.', type: 'text/plain' } },
    problems: [],
  },
} as const satisfies Readonly<Record<string, Endpoint>>;
export type EndpointId = keyof typeof ENDPOINTS;

/** All problems that an endpoint can answer with. */
export function problemsOf(endpoint: Endpoint): readonly ProblemCode[] {
  const { access, body, params, query } = endpoint;
  // Slack's own door refuses in plain text, which Slack shows to whoever sets the app up.
  if (access.kind === 'slack') return [...endpoint.problems, 'wrong-host', 'internal'];
  const list: ProblemCode[] = [...endpoint.problems, 'wrong-host', 'rate-limited', 'internal'];
  if (params !== undefined || query !== undefined || body !== undefined) list.push('invalid-request');
  if (body !== undefined) list.push('invalid-json', 'body-too-large', 'unsupported-media-type');
  if (access.kind !== 'public') list.push('unauthenticated', 'invalid-token', 'unavailable', 'two-credentials');
  if (access.kind !== 'public' && endpoint.method !== 'get')
    list.push('cross-site', 'csrf-missing', 'token-used', 'body-too-large');
  if (access.kind === 'run' || access.kind === 'lane') list.push('forbidden', 'not-found');
  return [...new Set(list)];
}
