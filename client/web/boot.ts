/** What the server puts into the HTML of a page, so that it paints without asking again. Types only: both sides read it. */
import type { PageData } from '../server/seams.js';

export type Boot = PageData & {
  /** Slipway's, shown at the foot. */
  readonly version: string;
};

/** What of a problem is told to a person. */
export type ShownProblem = Extract<PageData, { readonly page: 'problem' }>['problem'];

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
