import type { LaneRef } from './target.js';

/** What a person, a job or a token may do. Each but `breakglass` includes those before it where that is said in `RIGHTS`. */
export const ROLES = ['viewer', 'deployer', 'approver', 'breakglass', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** A role, and where it holds. */
export interface Grant {
  readonly role: Role;
  /** Names of services; `*` is any. */
  readonly services: readonly string[];
  /** Names of environments; `*` is any. */
  readonly environments: readonly string[];
}

/** How it was proved who speaks. `local`: not at all, on a server that listens on this machine only. */
export type Via = 'oidc' | 'ci' | 'token' | 'slack' | 'local';

/** Whoever speaks to the server, after authentication. Nothing here was written by the caller. */
export interface Identity {
  /** The same for one person over all ways of speaking: quorum counts these. */
  readonly subject: string;
  /** For people to read; chosen by the person, never compared. */
  readonly name: string;
  /** A job or a token of a machine can never approve. */
  readonly kind: 'person' | 'machine';
  readonly via: Via;
  readonly groups: readonly string[];
  /** Other names of the same person: mail addresses of commits, ids in CI and Slack. Excluding an author looks at all of them. */
  readonly aliases: readonly string[];
  readonly grants: readonly Grant[];
  /**
   * When the person last proved who they are, ms since the epoch; where the identity provider does not tell that, when they
   * logged in there, which a provider that remembers them does without asking anything.
   */
  readonly authenticatedAtMs: number;
}

/** What the server lets somebody do, by the role that it needs. */
export const RIGHTS = {
  view: ['viewer', 'deployer', 'approver', 'breakglass', 'admin'],
  deploy: ['deployer', 'admin'],
  retry: ['deployer', 'admin'],
  approve: ['approver', 'admin'],
  reject: ['approver', 'admin'],
  promote: ['approver', 'admin'],
  pause: ['deployer', 'approver', 'breakglass', 'admin'],
  resume: ['deployer', 'approver', 'breakglass', 'admin'],
  abort: ['deployer', 'approver', 'breakglass', 'admin'],
  'break-glass': ['breakglass'],
  unblock: ['admin'],
  audit: ['admin'],
} as const satisfies Readonly<Record<string, readonly Role[]>>;
export type Right = keyof typeof RIGHTS;

/** Rights that no machine has, whatever was granted to it. */
const PEOPLE_ONLY: readonly Right[] = ['approve', 'reject', 'promote', 'break-glass'];

export type Authorization =
  | { readonly kind: 'allowed' }
  /** `hidden`: not even that it exists may be told. */
  | { readonly kind: 'denied'; readonly hidden: boolean; readonly text: string };

/** The roles that somebody has for a service in an environment. */
export function rolesAt({ grants }: Pick<Identity, 'grants'>, lane: LaneRef): readonly Role[] {
  const holds = (names: readonly string[], name: string): boolean => names.includes('*') || names.includes(name);
  return ROLES.filter((role) =>
    grants.some(
      (grant) =>
        grant.role === role && holds(grant.services, lane.service) && holds(grant.environments, lane.environment),
    ),
  );
}

/** Whether somebody may do something to a service in an environment; the only place where that is decided. */
export function authorize(identity: Identity, right: Right, lane: LaneRef): Authorization {
  const roles = rolesAt(identity, lane);
  if (roles.length === 0)
    return { kind: 'denied', hidden: true, text: `there is nothing here that ${identity.subject} may see` };
  if (identity.kind === 'machine' && PEOPLE_ONLY.includes(right))
    return { kind: 'denied', hidden: false, text: `${identity.subject} is a machine: only people may ${right}` };
  const wanted: readonly Role[] = RIGHTS[right];
  if (roles.some((role) => wanted.includes(role))) return { kind: 'allowed' };
  return {
    kind: 'denied',
    hidden: false,
    text: `${identity.subject} is ${roles.join(', ')} of ${lane.service} in ${lane.environment}; to ${right} one must be ${wanted.join(' or ')}`,
  };
}
