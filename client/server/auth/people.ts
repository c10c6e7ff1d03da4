import type { Grant, Identity, Via } from '../../../domain/people.js';
import { ROLES } from '../../../domain/people.js';
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
  constructor(private readonly file: Pick<ServerFile, 'people' | 'roles' | 'slack'>) {}

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
    if (person === undefined) return null;
    return this.identify({
      subject: person.subject,
      name: person.name ?? person.subject,
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
