/** What the HTTP API takes and gives, in types: the server's schemas, the page and the CLI all follow these. */
import type { DecisionReceipt, RefusalCode, Verb } from '../../domain/approval/decision.js';
import type { Offer } from '../../domain/offers.js';
import type { QueuePlace } from '../../domain/lane.js';
import type { LiveStage } from '../../domain/live.js';
import type { Identity, Right } from '../../domain/people.js';
import type { ChangedFile, ConfigNames } from '../../domain/release.js';
import type { RolloutView } from '../../domain/rollout.js';
import type { TrailEntry } from '../../domain/trail.js';

export type { Offer };

/** `POST /runs`. Unknown keys are refused. */
export interface StartRun {
  /** Must be the authenticated subject; another name is kept as `onBehalfOf`. */
  readonly actor?: string;
  /** @default 'default' */
  readonly tenant?: string;
  readonly task: 'deploy';
  readonly payload: DeployPayload;
  /** The same key gives the same rollout for 30 days; may come as header `Idempotency-Key` instead. */
  readonly idempotencyKey?: string;
}

export interface DeployPayload {
  readonly service: string;
  readonly environment: string;
  /** Tag for all images of the service's file. */
  readonly tag?: string;
  /** Image references by container; those of the file where absent. */
  readonly images?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly config?: Partial<ConfigNames>;
  readonly change?: {
    readonly commit?: string;
    readonly author?: string;
    readonly message?: string;
    readonly files?: readonly ChangedFile[];
    /** Whether `files` was cut at a limit. @default false */
    readonly truncated?: boolean;
  };
  readonly hotfix?: boolean;
  /** Text of the service's `slipway.yaml`, where the server keeps no policies of its own. */
  readonly slipwayYaml?: string;
}

/** Answer of `POST /runs`. 202 where it runs or waits, 200 where the key was known. */
export interface StartedRun {
  readonly run_id: string;
  /** Of the W3C trace that the caller's `traceparent` names, or a new one: 32 hex digits. */
  readonly trace_id: string;
  readonly status: RolloutView['status'];
  readonly response?: { readonly text: string; readonly page: string };
  /** What is likely to stop it later, told already now: approvals that nobody whom this server knows can give. */
  readonly remarks?: readonly string[];
  /** Where a person is needed. */
  readonly escalation?: { readonly gate: string | null; readonly reason: string; readonly page: string };
}

/** A line of the list. */
export interface RunSummary {
  readonly rolloutId: string;
  readonly service: string;
  readonly environment: string;
  readonly release: string;
  readonly status: RolloutView['status'];
  readonly waitsFor: string | null;
  readonly outcome: string | null;
  readonly risk: number | null;
  /** The canary's share now, percent. */
  readonly weightPercent: number | null;
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** Whether the one who asks can end its wait. */
  readonly waitsForMe: boolean;
  /** Its place in its lane's queue; null where it does not wait there. `startedAt` is when it came, until it runs. */
  readonly queue: QueuePlace | null;
}

/** `GET /runs?state=open|waiting-for-me|ended&service=&environment=&limit=&cursor=`. */
export interface RunList {
  readonly runs: readonly RunSummary[];
  /** Opaque; null: there are no more. */
  readonly next: string | null;
  /** ISO 8601: when this was so. */
  readonly asOf: string;
}

/** `GET /runs/:id`, and the data of the event `run`. */
export interface RunDocument {
  readonly summary: RunSummary;
  readonly view: RolloutView;
  readonly offers: readonly Offer[];
  /** What is likely to stop it: approvals that nobody whom this server knows can give. */
  readonly remarks: readonly string[];
  /** What has been seen of the stage under way; null where nothing is watched. */
  readonly live: LiveStage | null;
  readonly links: { readonly page: string; readonly temporalWeb: string; readonly record: string | null };
  readonly asOf: string;
}

/** `POST /runs/:id/decisions`. The person is the authenticated one: a body that names a person is refused. */
export interface DecisionBody {
  /** Chosen by the caller once, the same for each try. */
  readonly id: string;
  readonly verb: Verb;
  readonly gate?: string;
  /** What the person was shown. */
  readonly planDigest?: string;
  readonly reason?: string;
  readonly full?: boolean;
}

/** 200; `recorded` (202): no worker is up, it counts as soon as one is. A refusal is a problem with status 409 or 403. */
export type DecisionAnswer =
  Exclude<DecisionReceipt, { readonly kind: 'refused' }> | { readonly kind: 'recorded'; readonly text: string };

/** RFC 9457, as `application/problem+json`. */
export interface Problem {
  /** `https://slipway.dev/problems/<code>`. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** Of the request, for the log. */
  readonly instance: string;
  /** What to do. */
  readonly next: string;
  readonly errors?: readonly { readonly pointer: string; readonly detail: string }[];
  /** Of a decision that was refused: which rule refused it. */
  readonly refusal?: RefusalCode;
}

/** `GET /me`. */
export interface Me {
  readonly identity: Identity;
  /** Goes into the header `X-Slipway-CSRF` of every unsafe request that is authenticated by the cookie. */
  readonly csrf: string | null;
  /** No login: this server listens on this machine only. */
  readonly local: boolean;
  /** ISO 8601: when the session ends. */
  readonly until: string | null;
  readonly rights: readonly Right[];
}

/** `POST /login/command`. */
export interface CommandToken {
  readonly token: string;
  /** ISO 8601. */
  readonly until: string;
}

/** `GET /runs/:id/trail`. */
export interface TrailDocument {
  readonly entries: readonly TrailEntry[];
}

/**
 * Server-sent events, `id: <epoch>:<seq>`. `GET /runs/:id/events` gives `run`, `live`, `end`; `GET /events` (the list)
 * gives `runs`; both `ping` every 15 s and `resync` where what was missed is not kept any more. An event is a whole
 * state, never a difference: whoever missed one has lost nothing.
 */
export type StreamEvent =
  | { readonly event: 'run'; readonly data: RunDocument }
  | { readonly event: 'live'; readonly data: LiveStage }
  | { readonly event: 'runs'; readonly data: RunList }
  | { readonly event: 'resync'; readonly data: { readonly reason: string } }
  | { readonly event: 'ping'; readonly data: { readonly at: string } }
  /** The rollout is over, or the session: nothing more comes. */
  | { readonly event: 'end'; readonly data: { readonly reason: string } };
