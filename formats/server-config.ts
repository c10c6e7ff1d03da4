/**
 * `slipway-server.yaml`: who may do what through the server, and how they prove who they are. Reviewed like code, so it
 * holds no secret: tokens stand in it as SHA-256, client secrets come by environment variable.
 */
import { z } from 'zod';
import { ROLES } from '../domain/people.js';
import { parseDuration } from './duration.js';
import { parseYamlAs } from './slipway-yaml.js';
import type { Problem } from './slipway-yaml.js';

const LOOPBACK = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(\/|$)/;

/** An address that what it says can be believed of: https, or http on this machine. */
const Trusted = z
  .string()
  .refine((text) => URL.canParse(text) && (text.startsWith('https://') || LOOPBACK.test(text)), {
    error: 'is not an https address\nwrite https://…; http is for this machine only',
  });
const Subject = z
  .string()
  .regex(/^[^\s\u0000-\u001f\u007f]{1,200}$/, 'is no subject\nwrite 1 to 200 characters without blanks');
/** A service, an environment, or `*` for any. */
const Where = z
  .array(z.string().regex(/^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$/, 'is no name\nwrite a name, or "*" for any'))
  .min(1);
const Duration = z.string().transform((text, context) => {
  const ms = parseDuration(text);
  if (ms !== null && ms > 0) return ms;
  context.addIssue({
    code: 'custom',
    message: `${JSON.stringify(text)} is no duration\nwrite a number and a unit: 15m, 8h`,
  });
  return z.NEVER;
});
const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'is no SHA-256\nwrite 64 hex digits, as `slipway token new` prints them');

/** OpenID Connect, for people. */
const Oidc = z.strictObject({
  /** Exactly as the provider's discovery document says it, the last slash included. */
  issuer: Trusted,
  clientId: z.string().min(1),
  /** @default [openid, profile, email] */
  scopes: z.array(z.string().regex(/^[\w:./-]+$/)).default(['openid', 'profile', 'email']),
  /** Claim that names a person for ever. @default sub. `email` only where people can't change it themselves */
  subjectClaim: z.string().min(1).default('sub'),
  /** Claim with the groups. @default groups */
  groupsClaim: z.string().min(1).default('groups'),
  /** A login older than that may look; to decide one logs in again, so that who left a group decides no more. @default 1h */
  decideWithin: Duration.default(3_600_000),
});

const Pattern = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

/** Tokens that CI systems give to their jobs: JWTs of an issuer, for our audience, with claims that match. */
const CiIssuer = z
  .strictObject({
    issuer: Trusted,
    /** Our own name, that jobs ask for: never the issuer's default. */
    audience: z.string().min(1),
    /** Where the keys are. @default as the issuer's discovery document says */
    jwksUri: Trusted.optional(),
    /** The subject that `roles` name; `{claim}` is filled in from the token. */
    subject: Subject,
    /** Each claim must be (one of) this; `*` at the end matches any rest. Numbers are compared as text. */
    match: z.record(z.string().min(1), Pattern),
    /** Events whose jobs may run a stranger's code; a token of another event listed in FORBIDDEN_EVENTS is refused. @default [] */
    allowEvents: z.array(z.string()).default([]),
  })
  .superRefine(({ match }, context) => {
    const named = (claims: readonly string[]): boolean => claims.some((claim) => Object.hasOwn(match, claim));
    if (!named(['repository_id', 'repository', 'project_id', 'project_path', 'namespace_id', 'repository_owner_id']))
      context.addIssue({
        code: 'custom',
        path: ['match'],
        message:
          'names no repository\nadd repository_id (GitHub) or project_id (GitLab): else any repository may deploy',
      });
    if (
      !named([
        'ref',
        'environment',
        'job_workflow_ref',
        'workflow_ref',
        'ref_protected',
        'ci_config_ref_uri',
        'environment_protected',
      ])
    )
      context.addIssue({
        code: 'custom',
        path: ['match'],
        message: 'names neither ref, environment nor workflow\nadd one of them: else any branch may deploy',
      });
  });

/** Events in which a stranger's code can ask for a token. Refused unless `allowEvents` names them. */
export const FORBIDDEN_EVENTS = ['pull_request', 'pull_request_target', 'workflow_run', 'issue_comment'] as const;

const StaticToken = z.strictObject({
  /** The part of the token between the first two underscores. */
  id: z.string().regex(/^[a-z0-9-]{1,40}$/, 'is no id of a token\nwrite small letters, digits and -'),
  sha256: Sha256,
  subject: Subject,
  name: z.string().max(200).optional(),
  /** Whose it is. Only a person's can approve. @default machine */
  kind: z.enum(['person', 'machine']).default('machine'),
  groups: z.array(z.string().min(1)).default([]),
  /** ISO 8601. A token without an end is one that nobody misses when it leaks. */
  expires: z.iso.datetime({ offset: true, error: 'is no instant\nwrite it as 2027-01-31T00:00:00Z' }),
});

const RoleGrant = z
  .strictObject({
    role: z.enum(ROLES),
    groups: z.array(z.string().min(1)).default([]),
    subjects: z.array(Subject).default([]),
    /** @default [*] */
    services: Where.default(['*']),
    /** @default [*] */
    environments: Where.default(['*']),
  })
  .refine(({ groups, subjects }) => groups.length + subjects.length > 0, {
    error: 'names nobody\nadd groups: […] or subjects: […]',
  });

const Person = z.strictObject({
  subject: Subject,
  name: z.string().max(200).optional(),
  /** Mail addresses of commits, `github:login`: excluding an author looks at all of them. */
  aliases: z.array(z.string().min(1).max(200)).default([]),
  /** Groups besides those of the identity provider; the only ones that somebody in Slack has. */
  groups: z.array(z.string().min(1)).default([]),
  slack: z
    .array(z.strictObject({ team: z.string().regex(/^[TE][A-Z0-9]+$/), user: z.string().regex(/^[UW][A-Z0-9]+$/) }))
    .default([]),
});

const Slack = z.strictObject({
  app: z.string().regex(/^A[A-Z0-9]+$/, 'is no id of a Slack app\nwrite it as A0123456789'),
  team: z.string().regex(/^T[A-Z0-9]+$/, 'is no id of a Slack workspace\nwrite it as T0123456789'),
  /** Of an enterprise grid. */
  enterprise: z
    .string()
    .regex(/^E[A-Z0-9]+$/)
    .optional(),
  /** Channel id by service; `*` for all others. */
  channels: z.record(
    z.string().min(1),
    z.string().regex(/^[CG][A-Z0-9]+$/, 'is no id of a channel\nwrite it as C0123456789'),
  ),
  /** Take the mail address of a Slack user for the subject where `people` does not name them. @default false */
  matchEmail: z.boolean().default(false),
});

export const ServerFile = z.strictObject({
  oidc: Oidc.optional(),
  ci: z.array(CiIssuer).default([]),
  tokens: z.array(StaticToken).default([]),
  roles: z.array(RoleGrant).default([]),
  people: z.array(Person).default([]),
  slack: Slack.optional(),
  /** Folder of slipway.yaml files, relative to this file: the only policies that the server then takes. */
  policies: z.string().min(1).optional(),
});
export type ServerFile = z.infer<typeof ServerFile>;

export type ServerFileReading =
  | { readonly ok: true; readonly file: ServerFile; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads a `slipway-server.yaml`: all its problems, each with its place and remedy. */
export function parseServerFile(text: string, fileName: string): ServerFileReading {
  const read = parseYamlAs(text, fileName, ServerFile);
  if (!read.ok) return read;
  const { value, source } = read;
  const problems: Problem[] = [];
  const add = (path: readonly (string | number)[], what: string, remedy: string): void => {
    const name = path.reduce<string>(
      (at, step) => (typeof step === 'number' ? `${at}[${step}]` : at === '' ? step : `${at}.${step}`),
      '',
    );
    problems.push({ path: name, ...source.locate(path, 'value'), message: `${name}: ${what}`, remedy });
  };
  twice(value.tokens.map(({ id }) => id)).forEach((at) =>
    add(['tokens', at, 'id'], 'is used by another token', 'give each token an id of its own'),
  );
  twice(value.tokens.map(({ sha256 }) => sha256)).forEach((at) =>
    add(['tokens', at, 'sha256'], 'is that of another token', 'make a new one: slipway token new'),
  );
  twice(value.people.map(({ subject }) => subject.toLowerCase())).forEach((at) =>
    add(['people', at, 'subject'], 'is listed twice', 'put the aliases of one person together'),
  );
  const aliases = value.people.flatMap((person, at) =>
    person.aliases.map((alias) => ({ alias: alias.toLowerCase(), at })),
  );
  twice(aliases.map(({ alias }) => alias)).forEach((index) =>
    add(
      ['people', aliases[index]?.at ?? 0, 'aliases'],
      `${aliases[index]?.alias ?? ''} is also somebody else’s`,
      'one name belongs to one person',
    ),
  );
  twice(value.people.flatMap(({ slack }) => slack.map(({ team, user }) => `${team}/${user}`))).forEach(() =>
    add(['people'], 'a Slack user is listed twice', 'one Slack user is one person'),
  );
  if (problems.length > 0) return { ok: false, problems };
  const known = new Set([...value.tokens.map(({ subject }) => subject), ...value.ci.map(({ subject }) => subject)]);
  const warnings = value.roles.length === 0 ? ['roles is empty: nobody may do or see anything'] : [];
  for (const { subject } of [...value.tokens, ...value.ci]) {
    const granted = value.roles.some(({ subjects, groups }) => subjects.includes(subject) || groups.length > 0);
    if (!granted && known.has(subject)) warnings.push(`no role names ${subject}: its token can do nothing`);
  }
  return { ok: true, file: value, warnings };
}

/** Places of what was there before. */
function twice(list: readonly string[]): readonly number[] {
  return list.flatMap((item, at) => (list.indexOf(item) < at ? [at] : []));
}
