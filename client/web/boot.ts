/** What the server puts into the HTML of a page, so that it paints without asking again. Types only: both sides read it. */
import type { Me, Problem, RunDocument, RunList } from '../server/contract.js';

/** What a page is drawn from. */
export type PageData =
  | { readonly page: 'list'; readonly me: Me; readonly runs: RunList; readonly ended: RunList }
  | { readonly page: 'rollout'; readonly me: Me; readonly run: RunDocument }
  | {
      readonly page: 'login';
      readonly login: LoginWays;
      readonly back: string;
      /** A login that the identity provider remembers is not enough. */
      readonly fresh: boolean;
      readonly notice: string | null;
    }
  /** The page can't be shown: the server said no, or could not be asked. */
  | { readonly page: 'problem'; readonly me: Me | null; readonly problem: ShownProblem };

export type Boot = PageData & {
  /** Slipway's, shown at the foot. */
  readonly version: string;
};

/** How somebody can log in here. */
export interface LoginWays {
  /** Path that leads to the identity provider; null: none is set up. */
  readonly oidc: string | null;
  /** Static tokens are taken. */
  readonly tokens: boolean;
}

/** What of a problem is told to a person. */
export type ShownProblem = Pick<Problem, 'title' | 'status' | 'detail' | 'next'>;

/** Id of the element that holds the `Boot`, as JSON. */
export const BOOT_ID = 'boot';

/** Paths of the pages. */
export const LIST_PATH = '/';
export const LOGIN_PATH = '/login';

/** @example rolloutPath('3f2a9c1e5b7d8f00') // '/rollouts/3f2a9c1e5b7d8f00' */
export function rolloutPath(rolloutId: string): string {
  return `/rollouts/${encodeURIComponent(rolloutId)}`;
}

/**
 * Where the login at the identity provider begins. `fresh` goes along: without it a provider that remembers the person
 * sends them back at once, as old as before.
 */
export function oidcPath(oidc: string, back: string, fresh: boolean): string {
  return `${oidc}?${fresh ? 'fresh=1&' : ''}return=${encodeURIComponent(back)}`;
}

/** A path of this server to return to: never another server's (`//evil.example`, `/\evil.example`). */
export function backPath(asked: string | null): string {
  return asked !== null && /^\/(?![/\\])[\u0021-\u007E]*$/.test(asked) ? asked : LIST_PATH;
}
