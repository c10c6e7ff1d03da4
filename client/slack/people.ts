import type { Identity } from '../../domain/people.js';
import { UserInfo } from '../../formats/slack-api.js';
import type { SlackApi, SlackUser } from '../../formats/slack-api.js';

/** Who is behind an account of Slack, as the server's configuration knows it. Roles and groups never come from Slack. */
export interface SlackDirectory {
  /** The person whose account it is; null: nobody's. */
  bySlack(team: string, user: string): Promise<Identity | null>;
  /**
   * The person with this mail address; null: nobody. Equality is as strong as the workspace's control over changes of
   * addresses, so this is off (null) unless somebody has switched it on.
   */
  readonly byEmail: ((email: string) => Promise<Identity | null>) | null;
}

export type Person =
  | { readonly kind: 'known'; readonly identity: Identity }
  /** `text`: why, and what to do. */
  | { readonly kind: 'unknown'; readonly text: string };

export interface PeopleOptions {
  readonly api: SlackApi;
  readonly directory: SlackDirectory;
  readonly publicUrl: string;
  readonly nowMs: () => number;
}

const CACHE_MS = 5 * 60_000;
const CACHE_SIZE = 2000;

/** Finds the person behind an account. Where that can't be told now, nobody is: the page is always there. */
export function createPeople({ api, directory, publicUrl, nowMs }: PeopleOptions) {
  const cache = new Map<string, { readonly user: SlackUser; readonly untilMs: number }>();
  const unknown = (why: string): Person => ({
    kind: 'unknown',
    text: `${why}. Log in and decide on the page: ${publicUrl}`,
  });

  async function infoOf(user: string): Promise<SlackUser | string> {
    const known = cache.get(user);
    if (known !== undefined && known.untilMs > nowMs()) return known.user;
    const answer = await api('users.info', { user }, UserInfo);
    if (answer.kind !== 'ok') {
      const why =
        answer.kind === 'limited' ? 'too many questions' : answer.kind === 'refused' ? answer.error : answer.why;
      return `Slack does not say who you are (${why})`;
    }
    if (cache.size >= CACHE_SIZE) cache.clear();
    cache.set(user, { user: answer.value.user, untilMs: nowMs() + CACHE_MS });
    return answer.value.user;
  }

  return {
    async find(team: string, user: string): Promise<Person> {
      const linked = await directory.bySlack(team, user);
      if (linked !== null) return { kind: 'known', identity: linked };
      const { byEmail } = directory;
      if (byEmail === null)
        return unknown(
          `your Slack account ${user} is nobody’s: an admin adds it to \`people\` of the server’s configuration`,
        );
      const info = await infoOf(user);
      if (typeof info === 'string') return unknown(info);
      const why = objectionTo(info, team, user);
      if (why !== null) return unknown(why);
      const email = info.profile?.email;
      if (email === undefined) return unknown('Slack does not tell your mail address');
      const identity = await byEmail(email.trim().toLowerCase());
      if (identity === null) return unknown('nobody here has your mail address');
      // An address that can be changed must not open the door that is meant for emergencies.
      const grants = identity.grants.filter(({ role }) => role !== 'breakglass');
      return { kind: 'known', identity: { ...identity, grants } };
    },
  };
}

/** Why an account's mail address is no proof, or null. */
function objectionTo(info: SlackUser, team: string, user: string): string | null {
  if (info.id !== user) return 'Slack told of somebody else';
  if (info.team_id !== undefined && info.team_id !== team) return 'you belong to another workspace';
  if (info.is_stranger === true) return 'you belong to another workspace';
  if (info.deleted === true) return 'your Slack account is deactivated';
  if (info.is_bot === true) return 'a bot can’t decide';
  if (info.is_restricted === true || info.is_ultra_restricted === true) return 'guests can’t decide';
  return null;
}
