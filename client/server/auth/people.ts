import type { Grant, Identity, Via } from '../../../domain/people.js';
import { authorize, ROLES } from '../../../domain/people.js';
import type { LaneRef } from '../../../domain/target.js';
import type { ServerFile } from '../../../formats/server-config.js';

/** What a proof of identity gives; what it may do is looked up anew with each request. */
export interface Proved {
  readonly subject: string;
  readonly name: string;
  readonly kind: Identity['kind'];
  readonly via: Via;
  readonly groups: readonly string[];
  readonly aliases: readonly string[];
  readonly authenticatedAtMs: number;
}

/** Everything: who speaks without a login, on a server that listens on this machine only. */
export const LOCAL: Omit<Identity, 'authenticatedAtMs'> = {
  subject: 'local',
  name: 'local user (no login)',
  kind: 'person',
  via: 'local',
  groups: [],
  aliases: [],
  grants: ROLES.map((role) => ({ role, services: ['*'], environments: ['*'] })),
};

/** The file's word on people: groups, other names, and what they may do. */
export class Directory {
  constructor(private readonly file: Pick<ServerFile, 'people' | 'roles' | 'slack' | 'oidc' | 'tokens'>) {}

  /** Completes a proved identity by the server's file. */
  identify(proved: Proved): Identity {
    const person = this.file.people.find(({ subject, aliases }) =>
      [subject, ...aliases].some((name) => same(name, proved.subject)),
    );
    // A machine keeps its own name, whatever aliases people have.
    const subject = proved.kind === 'person' ? (person?.subject ?? proved.subject) : proved.subject;
    const known = proved.kind === 'person' ? person : undefined;
    const groups = [...new Set([...proved.groups, ...(known?.groups ?? [])])];
    const aliases = [...new Set([...proved.aliases, ...(known?.aliases ?? []), proved.subject])].filter(
      (alias) => alias !== subject,
    );
    return {
      ...proved,
      subject,
      name: known?.name ?? proved.name,
      groups,
      aliases,
      grants: this.grants(subject, groups),
    };
  }

  /** The person whom the file links to a Slack user; null: nobody. */
  slackPerson(team: string, user: string): Identity | null {
    const person = this.file.people.find(({ slack }) => slack.some((at) => at.team === team && at.user === user));
    return person === undefined ? null : this.inSlack(person.subject, person.name ?? person.subject);
  }

  /** The person whose subject or alias is this mail address, which Slack knows of them; null: nobody who may do anything. */
  mailPerson(email: string): Identity | null {
    const identity = this.inSlack(email, email);
    return identity.grants.length === 0 ? null : identity;
  }

  /**
   * Everybody who could approve in a lane, as the file has it. Null: they can't be listed, since an identity provider says
   * who there is and who is in which group.
   */
  approvers(lane: LaneRef, nowMs: number): readonly Identity[] | null {
    const { oidc, tokens, slack, people, roles } = this.file;
    if (oidc !== undefined) return null;
    const holders = tokens
      .filter(({ kind, expires }) => kind === 'person' && Date.parse(expires) > nowMs)
      .map(({ subject, name, groups }) =>
        this.identify({
          subject,
          name: name ?? subject,
          kind: 'person',
          via: 'token',
          groups,
          aliases: [],
          authenticatedAtMs: nowMs,
        }),
      );
    const linked = people.filter((person) => person.slack.length > 0).map(({ subject }) => subject);
    // Any mail address that Slack knows is somebody's, where the file grants something to it.
    const byMail = [...people.map(({ subject }) => subject), ...roles.flatMap(({ subjects }) => subjects)];
    const inSlack = slack === undefined ? [] : slack.matchEmail ? byMail : linked;
    const known = new Map<string, Identity>();
    for (const identity of [...holders, ...inSlack.map((subject) => this.inSlack(subject, subject))]) {
      if (authorize(identity, 'approve', lane).kind === 'denied') continue;
      const name = identity.subject.toLowerCase();
      const groups = [...(known.get(name)?.groups ?? []), ...identity.groups];
      known.set(name, { ...identity, groups: [...new Set(groups)] });
    }
    return [...known.values()];
  }

  private inSlack(subject: string, name: string): Identity {
    return this.identify({
      subject,
      name,
      kind: 'person',
      via: 'slack',
      groups: [],
      aliases: [],
      authenticatedAtMs: Date.now(),
    });
  }

  private grants(subject: string, groups: readonly string[]): readonly Grant[] {
    return this.file.roles
      .filter(
        (grant) =>
          grant.subjects.some((name) => same(name, subject)) || grant.groups.some((group) => groups.includes(group)),
      )
      .map(({ role, services, environments }) => ({ role, services, environments }));
  }
}

/** Mail addresses are one whatever their case, as for approvals. */
function same(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase();
}
