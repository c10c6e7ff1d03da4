import { z } from 'zod';
import { defaultAnalysis, kayentaMetric, metricPolicy } from '../domain/canary/defaults.js';
import { DEFAULT_REMINDERS } from '../domain/approval/rules.js';
import { ON_ALERT, PROMETHEUS_TEMPLATES, STRATEGIES } from '../domain/policy.js';
import { OBJECT_NAME } from '../domain/release.js';
import { DIRECTIONS, JUDGES } from '../domain/canary/types.js';
import { DEFAULT_RISK_POLICY } from '../domain/risk-floor.js';
import type { AnalysisPolicy } from '../domain/canary/types.js';
import type { ApprovalPolicy, WaitPolicy } from '../domain/policy.js';
import type { Risk } from '../domain/risk.js';
import { ROUTE_KINDS } from '../domain/target.js';
import { DURATION_PATTERN, formatDuration, parseDuration } from './duration.js';
import { Name } from './gateway.js';

/**
 * The keys of `slipway.yaml`: what each means, its unit, shape and default. The JSON Schema that editors use and the
 * tables of docs/slipway-yaml.md are generated from here; `slipway-yaml.ts` reads a file and makes a policy of it.
 */

/** The gateway that `slipway local-gateway` starts. */
export const DEFAULT_GATEWAY = 'http://127.0.0.1:7700';
/** Length of a stage that does not say. */
export const DEFAULT_STAGE_MS = 15 * 60_000;
/** Weights of the canary strategies' stages, percent. `direct` has no stages. */
export const DEFAULT_WEIGHTS = { canary_5: [5, 25, 50], canary_10: [10, 25, 50], canary_25: [25, 50] } as const;
export const DEFAULT_HEALTH_PATH = '/healthz';
export const DEFAULT_REPLICAS = 1;
/** One replica more than a stage asks for, in a Deployment of twenty. */
export const DEFAULT_MAX_EXCESS_POINTS = 5;
export const DEFAULT_VERIFY_MS = 5 * 60_000;
export const DEFAULT_TIER = 2;
export const DEFAULT_RESOLVE_TAGS = 'best-effort';
/** Everything but `allowUnverified`, whose default depends on where the rollout acts. */
export const DEFAULT_APPROVAL = {
  required: 'risk',
  quorum: 1,
  groups: [],
  excludeAuthor: true,
  rules: [],
  reminders: DEFAULT_REMINDERS,
  escalate: null,
  validForMs: null,
  breakGlass: { allowed: true, ticket: false },
  byRisk: {},
} as const satisfies Omit<ApprovalPolicy, 'allowUnverified'>;
export const DEFAULT_WAITS: WaitPolicy = {
  approvalMs: 72 * 3_600_000,
  evidenceMs: 24 * 3_600_000,
  queueMs: 24 * 3_600_000,
  blindMs: 60 * 60_000,
  heldMs: 24 * 3_600_000,
  progressMs: 10 * 60_000,
};
const ANALYSIS = defaultAnalysis();
const METRIC = metricPolicy('');
const KAYENTA_METRIC = kayentaMetric('');
const LONGEST_MS = 366 * 86_400_000;

/** What is wrong with a value, and what helps. zod has room for one text only: two lines, see `objectionOf`. */
function objection(what: string, remedy: string): string {
  return `${what}\n${remedy}`;
}

/** The two halves of an objection; null for a text of zod's own. */
export function objectionOf(message: string): { readonly what: string; readonly remedy: string } | null {
  const end = message.indexOf('\n');
  return end < 0 ? null : { what: message.slice(0, end), remedy: message.slice(end + 1) };
}

/** A value of the file for a message: short, and of one line. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a mapping';
  if (value === null || value === undefined) return 'empty';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function wrongDuration(input: unknown): string {
  const remedy = 'write a number and a unit (ms, s, m, h or d), the largest unit first: 90s, 15m, 1h30m';
  if (typeof input !== 'number') return objection(`${shown(input)} is no duration`, remedy);
  return objection(`${input} has no unit`, `write ${input}s for seconds or ${input}m for minutes`);
}

/** A length of time as text with units; ms once read. */
function duration(minMs = 1, maxMs = LONGEST_MS) {
  return z
    .string({ error: ({ input }) => wrongDuration(input) })
    .regex(DURATION_PATTERN, { error: ({ input }) => wrongDuration(input) })
    .meta({ title: 'duration' })
    .transform((text, context) => {
      const ms = parseDuration(text);
      if (ms !== null && ms >= minMs && ms <= maxMs) return ms;
      const range = `write a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
      context.addIssue({
        code: 'custom',
        message:
          ms === null ? wrongDuration(text) : objection(`${text} is too ${ms < minMs ? 'short' : 'long'}`, range),
      });
      return z.NEVER;
    });
}

const PERCENT_PATTERN = /^\d+(\.\d+)?%$/;

function percentOf(text: string): number {
  return Number(text.slice(0, -1));
}

function wrongShare(input: unknown): string {
  const known = typeof input === 'number' && input > 1 && input <= 100;
  const remedy = known ? `write ${input}% for ${input} percent` : 'write a percentage from 0% to 100%, such as 0.2%';
  return objection(`${shown(input)} is no share`, remedy);
}

/** A share of a whole: a percentage, or a number from 0 to 1; a number from 0 to 1 once read. */
function share() {
  return z
    .union(
      [
        z.string().regex(PERCENT_PATTERN, { error: ({ input }) => wrongShare(input) }),
        z
          .number()
          .min(0, { error: ({ input }) => wrongShare(input) })
          .max(1, { error: ({ input }) => wrongShare(input) }),
      ],
      { error: ({ input }) => wrongShare(input) },
    )
    .meta({ title: 'share' })
    .transform((value, context) => {
      // Not divided by 100: 0.2 / 100 is not 0.002, and the digest of a plan must not depend on how it was written.
      const read = typeof value === 'number' ? value : Number(`${value.slice(0, -1)}e-2`);
      if (read <= 1) return read;
      context.addIssue({ code: 'custom', message: wrongShare(value) });
      return z.NEVER;
    });
}

/** A share as it is written in the file. */
function percentText(value: number): string {
  return `${Number((value * 100).toPrecision(12))}%`;
}

function wrongWeight(input: unknown): string {
  const ambiguous = typeof input === 'number' && input > 0 && input < 1;
  const remedy = ambiguous
    ? `write ${input}% for ${input} percent, or ${percentText(input)} for a share of ${input}`
    : 'write a percentage above 0% and up to 99%: full traffic comes with the promotion';
  return objection(ambiguous ? `${input} can be read in two ways` : `${shown(input)} is no weight`, remedy);
}

/** The canary's share of the traffic: a percentage, or a number of percent from 1 to 99; percent once read. */
function weight() {
  return z
    .union(
      [
        z.string().regex(PERCENT_PATTERN, { error: ({ input }) => wrongWeight(input) }),
        z
          .number()
          .min(1, { error: ({ input }) => wrongWeight(input) })
          .max(99, { error: ({ input }) => wrongWeight(input) }),
      ],
      { error: ({ input }) => wrongWeight(input) },
    )
    .meta({ title: 'percentage' })
    .transform((value, context) => {
      const read = typeof value === 'number' ? value : percentOf(value);
      if (read > 0 && read <= 99) return read;
      context.addIssue({ code: 'custom', message: wrongWeight(value) });
      return z.NEVER;
    });
}

/** How many times as large: a number above 1. */
function ratio() {
  const error = ({ input }: { readonly input?: unknown }): string =>
    objection(`${shown(input)} is no ratio`, 'write a number above 1, such as 1.3 for 30 % more');
  return z.number({ error }).gt(1, { error }).max(1000, { error }).meta({ title: 'ratio' });
}

/** A number from 0 to 1 that is no share of anything. */
function score() {
  const error = ({ input }: { readonly input?: unknown }): string =>
    objection(`${shown(input)} is no score`, 'write a number from 0 to 1, such as 0.6');
  return z.number({ error }).min(0, { error }).max(1, { error }).meta({ title: 'score' });
}

function whole(min: number, max: number) {
  const error = ({ input }: { readonly input?: unknown }): string =>
    objection(`${shown(input)} is not accepted`, `write a whole number from ${min} to ${max}`);
  return z.int({ error }).min(min, { error }).max(max, { error });
}

function decimal(min: number, max = 1e15) {
  const range = max === 1e15 ? `of ${min} or more` : `from ${min} to ${max}`;
  const error = ({ input }: { readonly input?: unknown }): string =>
    objection(`${shown(input)} is not accepted`, `write a number ${range}`);
  return z.number({ error }).min(min, { error }).max(max, { error });
}

/** An http address without credentials; without a slash at its end once read. */
function httpUrl() {
  return z
    .string()
    .regex(/^https?:\/\/[^\s]+$/, {
      error: ({ input }) =>
        objection(`${shown(input)} is no http address`, `write it in full, as in ${DEFAULT_GATEWAY}`),
    })
    .meta({ title: 'address' })
    .transform((text, context) => {
      const url = URL.canParse(text) ? new URL(text) : null;
      if (url !== null && url.username === '' && url.password === '') return text.replace(/\/+$/, '');
      context.addIssue({
        code: 'custom',
        message:
          url === null
            ? objection(`${shown(text)} is no http address`, `write it in full, as in ${DEFAULT_GATEWAY}`)
            : objection('the address carries a user or a password', 'remove them: secrets belong to the worker'),
      });
      return z.NEVER;
    });
}

/** The name of something that the worker knows: a secret, a webhook. Values are not accepted, and not repeated either. */
function workerName(example: string) {
  const remedy = `write the name that the worker's configuration gives it, such as ${example}: never an address or a secret itself`;
  return z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, { error: objection('the value is not a name', remedy) });
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const PATH = /^\/\S*$/;
const ENV_NAME = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'letters, digits and _, not beginning with a digit');

/** The image of a container. Its tag comes with each release. */
const Image = z
  .string()
  .min(1, {
    error: objection('the image has no name', 'write it without a tag, as in registry.example.com/team/hello'),
  })
  .max(255)
  .regex(/^[^\s]*$/, { error: ({ input }) => objection(`${shown(input)} contains white space`, 'write one image') })
  .refine((image) => !/@|:[^/]*$/.test(image), {
    error: ({ input }) =>
      objection(
        `${shown(input)} carries a tag or digest`,
        `write ${String(input).replace(/(@.*|:[^/]*)$/, '')}: the tag comes with each release`,
      ),
  });

type Default = { readonly default: unknown } | { readonly defaultText: string };

/** An optional key. Its default is applied when the policy is made, after `defaults` and environment are merged. */
function optional<Schema extends z.ZodType>(schema: Schema, meaning: string, fallback?: Default) {
  if (fallback === undefined) return schema.optional().meta({ description: meaning });
  if ('defaultText' in fallback) {
    return schema.optional().meta({ description: `${meaning} Default: ${fallback.defaultText}.` });
  }
  const text = typeof fallback.default === 'string' ? fallback.default : JSON.stringify(fallback.default);
  return schema.optional().meta({ description: `${meaning} Default: \`${text}\`.`, default: fallback.default });
}

/** A time of the analysis: most of them scale with the scrape interval. */
function analysisTime(pick: (analysis: AnalysisPolicy) => number): Default {
  const usual = pick(ANALYSIS);
  if (usual === pick(defaultAnalysis(2 * ANALYSIS.scrapeIntervalMs))) return { default: formatDuration(usual) };
  const scrapes = usual / ANALYSIS.scrapeIntervalMs;
  return {
    defaultText: `${scrapes} scrape intervals, so ${formatDuration(usual)} for scrapes every ${formatDuration(ANALYSIS.scrapeIntervalMs)}`,
  };
}

const Stage = z.strictObject({
  weight: weight().meta({
    description:
      'Share of the traffic that the canary gets: 10%, or the number of percent from 1 to 99. It rises from stage to stage.',
  }),
  for: optional(duration(), 'How long the stage lasts at least.', { default: formatDuration(DEFAULT_STAGE_MS) }),
  approval: optional(z.boolean(), 'A person must approve before the stage begins.', { default: false }),
});
export type Stage = z.infer<typeof Stage>;

const Stages = z
  .array(Stage)
  .min(1, { error: objection('the list is empty', 'write at least one stage, or strategy: direct for none') })
  .max(50, { error: objection('the list has more than 50 stages', 'write fewer stages') })
  .superRefine((stages, context) => {
    for (const [index, stage] of stages.entries()) {
      const before = stages[index - 1];
      if (before === undefined || stage.weight > before.weight) continue;
      context.addIssue({
        code: 'custom',
        path: [index, 'weight'],
        message: objection(
          `${stage.weight}% is not above the ${before.weight}% of the stage before`,
          'let weights rise from stage to stage',
        ),
      });
    }
  });

const CustomQueries = z.strictObject({
  requests: z.string().min(1).meta({ description: 'PromQL: counter of all requests, one series per pod.' }),
  errors: z.string().min(1).meta({ description: 'PromQL: counter of failed requests, one series per pod.' }),
  latencyBuckets: optional(
    z.string().min(1),
    'PromQL: cumulative latency buckets with the label `le`, in seconds, one set per pod.',
    { defaultText: 'none; latency is then not judged' },
  ),
});

const Prometheus = z.strictObject({
  prometheus: httpUrl().meta({ description: 'Base address of the Prometheus server.' }),
  queries: optional(
    z.union([z.enum(PROMETHEUS_TEMPLATES), CustomQueries]),
    'A ready-made set of queries, by what carries the traffic, or PromQL of your own, in which {{arm}}, {{service}}, {{environment}} and {{version}} are filled in. On Kubernetes `opentelemetry-http` tells arms apart by the label k8s_deployment_name: let the resource attribute k8s.deployment.name become one.',
    { default: 'slipway-gateway' },
  ),
  authorization: optional(
    workerName('PROMETHEUS_TOKEN'),
    "Name of the worker's secret that holds the Authorization header; never the header itself.",
    { defaultText: 'none' },
  ),
});

const Slack = z.strictObject({
  channel: z
    .string({ error: objection('the channel is missing', 'add channel: C0123456789') })
    .regex(/^[CG][A-Z0-9]{8,20}$/, {
      error: ({ input }) =>
        objection(
          `${shown(input)} is no id of a channel`,
          'write the id that stands at the end of the channel’s details in Slack, such as C0123456789: names change',
        ),
    })
    .meta({ description: 'Id of the channel, which the app must be a member of.' }),
});

const Run = z.strictObject({
  command: optional(
    z
      .array(z.string())
      .min(1, { error: objection('the list is empty', 'write program and arguments: [node, server.mjs]') }),
    'Program and arguments of one replica, no shell. {image}, {tag} and {port} are filled in; the port is in the variable PORT too. An environment on `local` needs it, here or under `defaults`.',
  ),
  cwd: optional(z.string().min(1), 'Working directory; a relative path begins at the folder of this file.', {
    default: '.',
  }),
  env: optional(
    z.record(ENV_NAME, z.string()),
    'Environment variables, text by name. No secrets: the file is in Git.',
    {
      default: {},
    },
  ),
  health: optional(
    z
      .string()
      .regex(PATH, { error: ({ input }) => objection(`${shown(input)} is no path`, 'write a path such as /healthz') }),
    'Path that answers 2xx once a replica can serve.',
    { default: DEFAULT_HEALTH_PATH },
  ),
  replicas: optional(whole(1, 1000), 'Processes of stable at full size.', { default: DEFAULT_REPLICAS }),
});

const kubeName = (example: string) =>
  z.string().regex(OBJECT_NAME, {
    error: ({ input }) =>
      objection(
        `${shown(input)} is no name of a Kubernetes object`,
        `write lower-case letters, digits, - and . such as ${example}`,
      ),
  });

const Kubernetes = z.strictObject({
  context: optional(z.string().min(1).max(200), "Context of the worker's kubeconfig: which cluster, and as whom.", {
    defaultText: "the cluster that the worker runs in; outside of one, the kubeconfig's current context",
  }),
  namespace: optional(
    kubeName('shop'),
    'Namespace of all objects below. An environment on Kubernetes needs it, here or under `defaults`.',
  ),
  deployment: optional(kubeName('hello'), 'The Deployment that serves now: stable. It must exist.', {
    defaultText: 'the name of the service',
  }),
  service: optional(kubeName('hello'), 'The Service that the route sends traffic to.', {
    defaultText: 'the name of the service',
  }),
  route: optional(
    z.union([
      z.literal('none'),
      z.strictObject({
        kind: optional(
          z.enum(ROUTE_KINDS),
          'Its kind: `HTTPRoute` or `GRPCRoute` of the Gateway API v1, `VirtualService` of Istio (networking.istio.io/v1), `Ingress` of ingress-nginx (by its canary annotations; there is no baseline then).',
          { default: 'HTTPRoute' },
        ),
        name: optional(kubeName('hello'), 'Its name.', { defaultText: 'the name of the service' }),
        multiRoute: optional(
          z.enum(['refuse', 'allow']),
          'What is done with further routes of the same kind that send traffic to the Service: `refuse` the rollout, or `allow` it, with the same weights in all of them.',
          { default: 'refuse' },
        ),
        drain: optional(
          // Each step is given up after 10 min.
          duration(1000, 8 * 60_000),
          'For so long after the last change of the shares requests may still come to pods that lost theirs: none is taken away before, and above 10 s none gets its first share before it has stood in the route for so long. A cloud’s load balancer takes longer than a gateway in the cluster. At most `8m`.',
          {
            defaultText:
              '`3s` behind gateways in the cluster, `8s` with Istio and ingress-nginx, `2m` with a Gateway of GKE, AWS or Azure',
          },
        ),
      }),
    ]),
    'The object whose rules name the Service: the canary’s share of the traffic is set there. `none`: shares follow from the numbers of replicas (one canary beside three of stable gets 25 %); there is no baseline then, promotion is in place, and an autoscaled Deployment is refused.',
  ),
  maxExcessPoints: optional(
    z.number().min(0).max(100),
    'With `route: none`: by how many percentage points the canary may get more than its stage asks for, because replicas are whole. A rollout that would exceed it is refused.',
    { default: DEFAULT_MAX_EXCESS_POINTS },
  ),
});

const Group = z.string().min(1).max(200);
const ApprovalRules = z
  .array(
    z.strictObject({
      group: Group.meta({ description: 'Group whose members may give these approvals.' }),
      count: optional(whole(1, 20), 'How many of them must.', { default: 1 }),
    }),
  )
  .max(20, { error: objection('the list has more than 20 rules', 'write fewer rules') });

const RiskRules = z.strictObject({
  quorum: optional(whole(1, 20), 'As `approval.quorum`.'),
  groups: optional(z.array(Group), 'As `approval.groups`.'),
  rules: optional(ApprovalRules, 'As `approval.rules`.'),
});

const Approval = z.strictObject({
  required: optional(
    z.enum(['risk', 'always', 'never']),
    'When a person must approve: if the risk assessment asks for it, always, or never.',
    { default: DEFAULT_APPROVAL.required },
  ),
  quorum: optional(whole(1, 20), 'Number of approvals that are needed.', { default: DEFAULT_APPROVAL.quorum }),
  groups: optional(
    z.array(z.string().min(1)),
    'Groups whose members may approve; with none, everyone who is not excluded.',
    { default: DEFAULT_APPROVAL.groups },
  ),
  rules: optional(
    ApprovalRules,
    'So many approvals of each of these groups, instead of `quorum` and `groups`. Each person counts for one rule.',
    { default: DEFAULT_APPROVAL.rules },
  ),
  byRisk: optional(
    z.strictObject({
      low: optional(RiskRules, 'Its own `quorum`, `groups` or `rules`.'),
      medium: optional(RiskRules, 'Its own `quorum`, `groups` or `rules`.'),
      high: optional(RiskRules, 'Its own `quorum`, `groups` or `rules`.'),
      critical: optional(RiskRules, 'Its own `quorum`, `groups` or `rules`.'),
    } satisfies Record<Risk['level'], unknown>),
    'Other `quorum`, `groups` or `rules` from a level of risk upward, until a level that has its own: `{ high: { quorum: 2 } }`.',
    { defaultText: 'the same at every risk' },
  ),
  excludeAuthor: optional(
    z.boolean(),
    'The author of the change, and whoever started the rollout, may not approve it, under any of their names.',
    {
      default: DEFAULT_APPROVAL.excludeAuthor,
    },
  ),
  reminders: optional(
    z.array(share()).max(10, { error: objection('the list has more than 10 reminders', 'write fewer') }),
    'Shares of the wait (`waits.approval`, `waits.held`) at which a reminder goes out; an empty list for none.',
    { default: DEFAULT_APPROVAL.reminders.map(percentText) },
  ),
  escalate: optional(
    z.strictObject({
      after: duration().meta({ description: 'How long after the gate has opened.' }),
      groups: z
        .array(Group)
        .min(1, { error: objection('the list is empty', 'name a group') })
        .meta({ description: 'They are told, and may answer under every rule from then on.' }),
    }),
    'Who may answer too once nobody has for so long.',
    { defaultText: 'nobody else' },
  ),
  onSilence: optional(
    z.literal('reject', {
      error: ({ input }) =>
        objection(
          `${shown(input)} is not accepted`,
          'write reject, or remove it: silence never approves. For changes that need nobody there is required: risk or never',
        ),
    }),
    'What it means that nobody answers until the end of the wait. Silence never approves.',
    { default: 'reject' },
  ),
  validFor: optional(
    duration(),
    'How long an approval counts. One that is older as the canary begins is asked for again, and one at a gate that still waits for others is dropped.',
    { defaultText: 'for as long as the rollout waits' },
  ),
  breakGlass: optional(
    z.strictObject({
      allowed: optional(
        z.boolean(),
        'Whether one person with the role `breakglass` may open a gate, or promote over a HOLD, alone.',
        { default: DEFAULT_APPROVAL.breakGlass.allowed },
      ),
      ticket: optional(z.boolean(), 'Its reason must name a ticket: OPS-123, #123, or a link.', {
        default: DEFAULT_APPROVAL.breakGlass.ticket,
      }),
    }),
    'Going past those who are asked: loud, with a reason, and marked for ever.',
  ),
  allowUnverified: optional(
    z.boolean(),
    "Decisions without the server's signature count. Meant for demos and for one machine.",
    { defaultText: 'true where the gateway is on this machine (127.0.0.1, ::1, localhost), else false' },
  ),
});

export type Approval = z.infer<typeof Approval>;

const Off = z.literal('off').transform(() => null);

const Limits = z.strictObject({
  maxErrorRate: optional(
    z.union([share(), Off]),
    'Share of failed requests above which the canary is stopped, unless the comparison is above it too; `off` for no limit.',
    ANALYSIS.limits.maxErrorRate === null ? { default: 'off' } : { default: percentText(ANALYSIS.limits.maxErrorRate) },
  ),
  maxP99: optional(
    z.union([duration(), Off]),
    '99th percentile of latency above which the canary is stopped, unless the comparison is above it too; `off` for no limit.',
    ANALYSIS.limits.maxP99Seconds === null
      ? { default: 'off' }
      : { default: formatDuration(1000 * ANALYSIS.limits.maxP99Seconds) },
  ),
  catastrophicErrorRate: optional(
    share(),
    'Share of failed requests at which the canary is stopped, whatever the comparison does.',
    { default: percentText(ANALYSIS.limits.catastrophicErrorRate) },
  ),
  minRequests: optional(whole(1, 1_000_000), 'Requests of the canary that a limit needs before it may speak.', {
    default: ANALYSIS.limits.minRequests,
  }),
  window: optional(duration(), 'Time that the limits look back.', {
    defaultText: `2 scrape intervals, ${formatDuration(defaultAnalysis(1).limits.windowMs)} at least`,
  }),
});

const MetricName = z.string().regex(/^\S(.{0,98}\S)?$/, {
  error: ({ input }) => objection(`${shown(input)} is no name`, 'write 1 to 100 characters, no line breaks'),
});

const MetricNoise = z
  .strictObject({
    pairs: whole(1, 1_000_000).meta({ description: 'Pairs of equal arms that had values of it.' }),
    ratio: optional(share(), 'By how much it differs between them, relative: for a tolerance that is a ratio.'),
    difference: optional(decimal(0), 'The same in its own unit: for a tolerance that is a difference.'),
  })
  .refine(({ ratio, difference }) => (ratio === undefined) !== (difference === undefined), {
    error: objection('it needs one of ratio and difference', 'write { pairs: 20, ratio: 5 % }'),
  });

const NoiseFloor = z.strictObject({
  pairs: whole(1, 1_000_000).meta({ description: 'Pairs of equal arms that it was learned from.' }),
  p99: share().meta({ description: 'By how much p99 differs between them: a standard deviation, `5 %` say.' }),
  errorRate: share().meta({ description: 'The same of error rates, relative, beyond what chance explains.' }),
  metrics: optional(
    z.record(MetricName, MetricNoise),
    'The same of further metrics, by their names in `analysis.metrics`, each with its own pairs: `{ pairs: 20, ratio: 8 % }`, or `difference`, in the metric’s own unit, where its tolerance is one. Metrics that are not here have no noise but chance.',
    { defaultText: 'none' },
  ),
});

const MannWhitney = z.strictObject({
  window: optional(
    duration(),
    'Length of a window.',
    analysisTime((analysis) => analysis.mannWhitney.windowMs),
  ),
  checkEvery: optional(
    duration(),
    'Time from one check to the next.',
    analysisTime((analysis) => analysis.mannWhitney.checkEveryMs),
  ),
  checks: optional(whole(1, 100), 'Number of checks; undecided after the last is a HOLD.', {
    default: ANALYSIS.mannWhitney.checks,
  }),
  rollbackP: optional(score(), 'ROLLBACK below this p on either metric.', { default: ANALYSIS.mannWhitney.rollbackP }),
  promoteP: optional(score(), 'PROMOTE above this p on both metrics.', { default: ANALYSIS.mannWhitney.promoteP }),
  maxErrorIncrease: optional(share(), 'Rise of the error rate, in percentage points, that is too much by itself.', {
    default: percentText(ANALYSIS.mannWhitney.maxErrorIncrease),
  }),
  maxLatencyRatio: optional(ratio(), 'Ratio of 99th percentiles of latency that is too much by itself.', {
    default: ANALYSIS.mannWhitney.maxLatencyRatio,
  }),
  minSuccessRate: optional(share(), 'Share of successful requests that the canary must reach.', {
    default: percentText(ANALYSIS.mannWhitney.minSuccessRate),
  }),
});

const ToleranceText = z
  .strictObject({
    ratio: optional(ratio(), 'Times the comparison’s value, or downwards the same part of it.'),
    difference: optional(decimal(0), 'A difference in the metric’s own unit: for metrics that may be 0.'),
  })
  .refine(({ ratio, difference }) => (ratio === undefined) !== (difference === undefined), {
    error: objection('it needs one of ratio and difference', 'write { ratio: 1.2 } or { difference: 5 }'),
  });

const Metric = z.strictObject({
  name: MetricName.meta({ description: 'Its name in verdicts; not twice, and not error-rate or latency-p99.' }),
  query: z.string().min(1).meta({
    description:
      'PromQL that gives one series for an arm: a gauge, a mean, a quantile. {{arm}}, {{service}}, {{environment}}, {{version}}, {{workload}} and {{namespace}} are filled in. Values shall not share data: let a range be the scrape interval.',
  }),
  direction: optional(z.enum(DIRECTIONS), 'The change that is for the worse.', { default: METRIC.direction }),
  critical: optional(
    z.boolean(),
    'It may roll back by itself, and must be known before a PROMOTE; a metric that is not critical is shown only, and counts in the score of `kayenta`.',
    { default: METRIC.critical },
  ),
  weight: optional(decimal(0.001, 1000), 'Its part in the score of `kayenta`.', { default: METRIC.weight }),
  tolerance: optional(ToleranceText, 'The smallest change that matters to `sequential`.', { default: { ratio: 1.2 } }),
  min: optional(z.number(), 'What the canary’s value must reach, for `threshold`.', { defaultText: 'no limit' }),
  max: optional(z.number(), 'What the canary’s value must not exceed, for `threshold`.', { defaultText: 'no limit' }),
});

const Threshold = z.strictObject({
  counting: optional(
    z.enum(['flagger', 'argo']),
    '`flagger`: a check fails if any limit is broken or has no data; failed checks add up, and `failureLimit` of them fail the canary. `argo`: each limit counts for itself, and more than `failureLimit` failures, or more than `consecutiveErrorLimit` checks in a row without data, fail it.',
    { default: ANALYSIS.threshold.counting },
  ),
  initialDelay: optional(duration(0), 'Time before the first check’s interval begins.', { default: '0s' }),
  interval: optional(duration(), 'Time from one check to the next.', {
    default: formatDuration(ANALYSIS.threshold.intervalMs),
  }),
  window: optional(duration(), 'Time that a check looks back.', {
    default: formatDuration(ANALYSIS.threshold.windowMs),
  }),
  failureLimit: optional(whole(0, 10_000), 'Failed checks: see `counting`.', {
    default: ANALYSIS.threshold.failureLimit,
  }),
  consecutiveErrorLimit: optional(whole(0, 10_000), 'Checks in a row without data; with `argo` only.', {
    default: ANALYSIS.threshold.consecutiveErrorLimit,
  }),
  count: optional(whole(1, 10_000), 'Number of checks, which a PROMOTE waits for; with `argo` only.', {
    defaultText: 'as many as the stage has room for',
  }),
  minSuccessRate: optional(
    z.union([share(), Off]),
    'Share of successful requests that the canary must reach; `off` for no limit.',
    { default: percentText(ANALYSIS.threshold.minSuccessRate ?? 0) },
  ),
  maxP99: optional(
    z.union([duration(), Off]),
    '99th percentile of latency that the canary must not exceed; `off` for no limit.',
    { default: formatDuration(1000 * (ANALYSIS.threshold.maxP99Seconds ?? 0)) },
  ),
});

const NO_EFFECT_TEXT = { defaultText: '1 for `meanRatio`, 0.5 for `cles`: any' };

const Effect = z.strictObject({
  measure: optional(
    z.enum(['meanRatio', 'cles']),
    '`meanRatio`: mean of the canary divided by mean of the comparison; `cles`: probability that a value of the canary is the larger one.',
    { default: KAYENTA_METRIC.effect.measure },
  ),
  allowedIncrease: optional(decimal(0), 'Effect below which a metric is not High.', NO_EFFECT_TEXT),
  allowedDecrease: optional(decimal(0), 'Effect above which a metric is not Low.', NO_EFFECT_TEXT),
  criticalIncrease: optional(decimal(0), 'Effect from which a High critical metric makes the score 0.', NO_EFFECT_TEXT),
  criticalDecrease: optional(
    decimal(0),
    'Effect down from which a Low critical metric makes the score 0.',
    NO_EFFECT_TEXT,
  ),
});

const KayentaMetric = z.strictObject({
  name: MetricName.meta({ description: 'error-rate, latency-p99, or a name from `analysis.metrics`.' }),
  groups: optional(z.array(z.string().min(1)).min(1), 'Groups that it counts in.', { default: KAYENTA_METRIC.groups }),
  weight: optional(decimal(0.001, 1000), 'Its part in the score of its groups.', { default: KAYENTA_METRIC.weight }),
  direction: optional(z.enum(DIRECTIONS), 'The change that is for the worse.', { default: KAYENTA_METRIC.direction }),
  critical: optional(z.boolean(), 'If it fails, or has no data, the whole score is 0.', {
    default: KAYENTA_METRIC.critical,
  }),
  mustHaveData: optional(z.boolean(), 'Without data it has failed.', { default: KAYENTA_METRIC.mustHaveData }),
  nanStrategy: optional(z.enum(['remove', 'replace']), 'Missing values: left out, or replaced by 0.', {
    default: KAYENTA_METRIC.nanStrategy,
  }),
  outliers: optional(
    z.strictObject({
      strategy: optional(z.enum(['keep', 'remove']), 'What becomes of them.', {
        default: KAYENTA_METRIC.outliers.strategy,
      }),
      factor: optional(decimal(0), 'Interquartile ranges beyond the quartiles from which a value is one.', {
        default: KAYENTA_METRIC.outliers.factor,
      }),
    }),
    'Outliers of each arm.',
  ),
  effect: optional(Effect, 'How large a difference must be to count.'),
});
export type KayentaMetric = z.infer<typeof KayentaMetric>;

const Kayenta = z.strictObject({
  confidenceLevel: optional(score(), 'Confidence of the interval of the difference.', {
    default: ANALYSIS.kayenta.confidenceLevel,
  }),
  tolerance: optional(decimal(0, 1), 'Part of the estimated difference that its interval must stay clear of 0 by.', {
    default: ANALYSIS.kayenta.tolerance,
  }),
  delay: optional(duration(0), 'Time before the first value counts.', { default: '0s' }),
  interval: optional(duration(), 'Time from one run to the next; the last is at the stage’s end.', {
    default: formatDuration(ANALYSIS.kayenta.intervalMs),
  }),
  step: optional(duration(), 'Time that one value stands for.', { defaultText: 'one scrape interval' }),
  lookback: optional(duration(), 'Time that a run looks back.', { defaultText: 'all since the start' }),
  pass: optional(decimal(0, 100), 'Score that the last run must reach.', { default: ANALYSIS.kayenta.passScore }),
  marginal: optional(decimal(0, 100), 'Score below which any run fails.', {
    defaultText: `${ANALYSIS.kayenta.marginalScore}, or \`pass\` where that is less`,
  }),
  groupWeights: optional(
    z.record(z.string().min(1), decimal(0, 100)),
    'Percent of the score by group; other groups share the rest evenly.',
    { default: {} },
  ),
  metrics: optional(
    z.array(KayentaMetric).min(1, { error: objection('the list is empty', 'write a metric, or leave out the list') }),
    'How single metrics are classified. `analysis.metrics` that are not here count with their direction, critical and weight.',
    { defaultText: 'error-rate and latency-p99, both with direction increase' },
  ),
});

const EarlyPromotion = z.strictObject({
  after: duration().meta({
    description: 'The stage’s least time. The first look from then on that sees more than the warm-up may promote.',
  }),
});

export const Analysis = z.strictObject({
  judge: optional(
    z.enum(JUDGES),
    '`sequential` looks often with one error budget for the whole rollout; `mann-whitney` is the rule of three checks that many people know; `threshold` knows limits only, as Argo Rollouts and Flagger; `kayenta` scores as Spinnaker’s NetflixACAJudge.',
    { default: ANALYSIS.judge },
  ),
  scrapeInterval: optional(
    duration(100),
    'Time from one sample of the metrics to the next; other times scale with it. Not less than the interval at which your Prometheus scrapes the service: from one and a half times on, what is between two samples can’t be compared. The rollout then says which interval to write and is held as blind (`waits.blind`); only harm that shows all the same rolls it back before.',
    {
      default: formatDuration(ANALYSIS.scrapeIntervalMs),
    },
  ),
  warmUp: optional(
    duration(0),
    'Samples of the first moments after an arm became ready are left out (caches, JIT). By default twice as long with `compareWith: stable`, which has long been warm.',
    analysisTime((analysis) => analysis.warmUpMs),
  ),
  lookEvery: optional(
    duration(),
    'Time from one statistical look at the data to the next.',
    analysisTime((analysis) => analysis.lookEveryMs),
  ),
  errorBudget: optional(
    share(),
    'Probability, over the whole rollout, of rolling back a release that is as good as stable.',
    { default: percentText(ANALYSIS.errorBudget) },
  ),
  minErrorIncrease: optional(share(), 'Smallest rise of the error rate that matters, in percentage points.', {
    default: percentText(ANALYSIS.minErrorIncrease),
  }),
  minErrorRatio: optional(ratio(), 'Smallest ratio of error rates that matters.', { default: ANALYSIS.minErrorRatio }),
  minLatencyRatio: optional(ratio(), 'Smallest ratio of 99th percentiles of latency that matters.', {
    default: ANALYSIS.minLatencyRatio,
  }),
  errorMargin: optional(
    share(),
    'Rise of the error rate, in percentage points, that may remain undetected in a PROMOTE.',
    { default: percentText(ANALYSIS.errorMargin) },
  ),
  latencyMargin: optional(ratio(), 'Ratio of 99th percentiles of latency that may remain undetected in a PROMOTE.', {
    default: ANALYSIS.latencyMargin,
  }),
  minRequests: optional(
    whole(1, 100_000_000),
    'Requests that each arm must have served in the stage before a PROMOTE.',
    {
      default: ANALYSIS.minRequests,
    },
  ),
  earlyPromotion: optional(
    z.union([EarlyPromotion, Off]),
    '`sequential` may promote a stage before its time is up, once the canary has been shown to be no worse at a stricter level. A fault that begins later than that is not seen in the stage: see [judge.md](judge.md#early-promotion). `off`: every stage lasts as long as it says.',
    { defaultText: '`off`' },
  ),
  noiseFloor: optional(
    NoiseFloor,
    'How far apart arms of one version are at this service, as `slipway noise` has learned it: widens what `sequential` tolerates.',
  ),
  limits: optional(Limits, 'Limits that the canary must keep, checked at every sample.'),
  metrics: optional(
    z.array(Metric).max(100, { error: objection('the list has more than 100 metrics', 'write fewer') }),
    'Metrics beyond errors and latency, from a Prometheus server.',
    { default: [] },
  ),
  mannWhitney: optional(MannWhitney, 'Constants of the judge `mann-whitney`.'),
  threshold: optional(Threshold, 'Constants of the judge `threshold`.'),
  kayenta: optional(Kayenta, 'Constants of the judge `kayenta`.'),
});
export type Analysis = z.infer<typeof Analysis>;

const Waits = z.strictObject({
  queue: optional(duration(), 'For a place in the lane. At its end: rejected.', {
    default: formatDuration(DEFAULT_WAITS.queueMs),
  }),
  evidence: optional(duration(), 'For evidence that a gate needs. At its end: rejected.', {
    default: formatDuration(DEFAULT_WAITS.evidenceMs),
  }),
  approval: optional(duration(), 'For approval before the canary. At its end: rejected.', {
    default: formatDuration(DEFAULT_WAITS.approvalMs),
  }),
  blind: optional(duration(), 'For metrics that are missing or out of reach. At its end: rolled back.', {
    default: formatDuration(DEFAULT_WAITS.blindMs),
  }),
  held: optional(
    duration(),
    'While paused, undecided, or before a stage that needs approval. At its end: rolled back.',
    {
      default: formatDuration(DEFAULT_WAITS.heldMs),
    },
  ),
  progress: optional(duration(), 'For an arm to become ready. At its end: rolled back.', {
    default: formatDuration(DEFAULT_WAITS.progressMs),
  }),
});

const RiskSettings = z.strictObject({
  model: optional(
    z.enum(['on', 'off']),
    'Whether a language model may raise the risk above what the rules find; it can never lower it.',
    { default: DEFAULT_RISK_POLICY.model },
  ),
  approvalFrom: optional(score(), 'Risk from which a person must approve.', {
    default: DEFAULT_RISK_POLICY.approvalFrom,
  }),
  canary25From: optional(score(), 'Risk from which the strategy is canary_25 at least.', {
    default: DEFAULT_RISK_POLICY.canary25From,
  }),
  canary10From: optional(score(), 'Risk from which the strategy is canary_10 at least.', {
    default: DEFAULT_RISK_POLICY.canary10From,
  }),
  canary5From: optional(score(), 'Risk from which the strategy is canary_5.', {
    default: DEFAULT_RISK_POLICY.canary5From,
  }),
  timeZone: optional(
    z.string().refine(isTimeZone, {
      error: ({ input }) => objection(`${shown(input)} is no time zone`, 'write an IANA name such as Europe/Berlin'),
    }),
    'Zone of the people who look after the service, for "Friday evening". An IANA name.',
    { default: DEFAULT_RISK_POLICY.timeZone },
  ),
});

function usualStages(strategy: keyof typeof DEFAULT_WEIGHTS): Default {
  const weights = DEFAULT_WEIGHTS[strategy].map((percent) => `${percent}%`).join(', ');
  return { defaultText: `${weights}, ${formatDuration(DEFAULT_STAGE_MS)} each` };
}

/** What may be said of an environment, or of all of them under `defaults`. Every key is optional until they are merged. */
export const Environment = z
  .strictObject({
    platform: optional(
      z.enum(['local', 'kubernetes']),
      'Where the service runs. `local`: processes behind the weighted gateway. `kubernetes`: a plain Deployment behind a route of the Gateway API. Every environment needs it, here or under `defaults`.',
    ),
    gateway: optional(httpUrl(), "Address of the local gateway's admin API. For `local` only.", {
      default: DEFAULT_GATEWAY,
    }),
    run: optional(Run, 'The process that serves one replica. For `local` only.'),
    kubernetes: optional(Kubernetes, 'The objects of the service. For `kubernetes` only.'),
    strategy: optional(
      z.enum(['auto', ...STRATEGIES]),
      '`auto`: as the risk assessment says. A fixed strategy is used unless the risk asks for more care.',
      { default: 'auto' },
    ),
    stages: optional(
      z.union([
        Stages,
        z.strictObject({
          canary_5: optional(Stages, 'Stages of canary_5.', usualStages('canary_5')),
          canary_10: optional(Stages, 'Stages of canary_10.', usualStages('canary_10')),
          canary_25: optional(Stages, 'Stages of canary_25.', usualStages('canary_25')),
        }),
      ]),
      'The canary’s way to full traffic: a list of stages for every canary strategy, or a list for each by its name. `direct` has no stages.',
      { defaultText: 'by strategy' },
    ),
    compareWith: optional(
      z.enum(['baseline', 'stable']),
      'What the canary is compared with. `baseline`: a fresh copy of stable, which is fairer; `stable`: stable itself, which needs no more capacity.',
      { default: 'baseline' },
    ),
    promote: optional(
      z.enum(['verified', 'in-place']),
      '`verified`: the canary grows to full size and is watched there while going back is one write. `in-place`: stable is replaced at once, for those without the capacity.',
      { default: 'verified' },
    ),
    verify: optional(
      duration(0),
      'How long the new version is watched at 100 % before stable is replaced; 0s for not at all.',
      { default: formatDuration(DEFAULT_VERIFY_MS) },
    ),
    resolveTags: optional(
      z.enum(['best-effort', 'required', 'off']),
      'Whether the tags of a release are resolved to digests before anything else, so that approval and pods are bound to the same bytes. `best-effort`: where that can’t be done the plan says so, and the rollout goes on; `required`: it is rejected; `off`: no registry is asked. For `kubernetes` only.',
      { default: DEFAULT_RESOLVE_TAGS },
    ),
    onAlert: optional(
      z.enum(ON_ALERT),
      'What a firing alert that names the service (Alertmanager’s webhook, `POST /alerts` of the server) does to a canary under traffic: roll it back at once, hold it (paused; the guard goes on), or nothing.',
      { default: 'rollback' },
    ),
    whenBusy: optional(
      z.enum(['queue', 'supersede', 'reject']),
      'What a release does while another one is under way: wait, take its place (it is aborted), or give up.',
      { default: 'queue' },
    ),
    approval: optional(Approval, 'Who must approve, and when.'),
    analysis: optional(Analysis, 'How the canary is judged.'),
    metrics: optional(
      z.union([z.literal('gateway'), Prometheus]),
      "Where metrics come from: `gateway` is the local gateway's own /metrics; else a Prometheus server, which an environment on Kubernetes needs.",
      { default: 'gateway' },
    ),
    waits: optional(Waits, 'How long a rollout waits, by what it waits for.'),
    risk: optional(RiskSettings, 'How risk, 0 to 1, is turned into care.'),
    notify: optional(
      z.array(workerName('release-channel')),
      "Names of the worker's webhooks that are told of each step, besides its log.",
      { default: [] },
    ),
    slack: optional(Slack, 'The message in Slack that follows each rollout, with its buttons.', {
      defaultText: 'none',
    }),
  })
  .meta({ id: 'Environment', description: 'How the service is deployed to an environment.' });
export type Environment = z.infer<typeof Environment>;

/** A whole `slipway.yaml`, as it is written. */
export const SlipwayFile = z
  .strictObject({
    service: Name.meta({ description: 'Name of the service: lower-case letters, digits, - and . (63 at most).' }),
    owner: optional(z.string().min(1).max(200), 'Team or person to turn to.', { defaultText: 'none' }),
    tier: optional(z.literal([0, 1, 2, 3]), 'How critical the service is; 0 is the most critical.', {
      default: DEFAULT_TIER,
    }),
    images: optional(
      z.record(Name, Image).refine((images) => Object.keys(images).length > 0, {
        error: objection('no image is named', 'name one: { app: registry.example.com/team/hello }'),
      }),
      'Image of each container, without a tag: the tag comes with each release.',
      { defaultText: 'one container, app, whose image has the name of the service' },
    ),
    defaults: Environment.optional().meta({
      description:
        'What holds in every environment that does not say otherwise. Mappings are merged key by key; lists and single values are replaced.',
    }),
    environments: z
      .record(Name, Environment)
      .refine((environments) => Object.keys(environments).length > 0, {
        error: objection('no environment is described', 'describe one, such as local'),
      })
      .meta({ description: 'Each environment by its name.', minProperties: 1 }),
  })
  .meta({
    title: 'slipway.yaml',
    description: 'How Slipway deploys one service. Top-level keys that begin with x- are ignored: a place for anchors.',
    patternProperties: { '^x-': {} },
  });
export type SlipwayFile = z.infer<typeof SlipwayFile>;
