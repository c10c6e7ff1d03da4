/** What the server is given by others: each is optional, and what is missing is said by a problem, never by a crash. */
import type { RolloutView } from '../../domain/rollout.js';
import type { LaneRef } from '../../domain/target.js';
import type { TrailEntry } from '../../domain/trail.js';
import type { Me, Problem, RunDocument, RunList } from './contract.js';

/** What a page is drawn from, so that it paints without asking again. */
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
  | {
      readonly page: 'problem';
      readonly me: Me | null;
      readonly problem: Pick<Problem, 'title' | 'status' | 'detail' | 'next'>;
    };

/** How somebody can log in here. */
export interface LoginWays {
  /** Path that leads to the identity provider; null: none is set up. */
  readonly oidc: string | null;
  /** Static tokens are taken. */
  readonly tokens: boolean;
}

/** The web page. */
export interface Page {
  /**
   * Answers for a page (`data` given), or for one of the page's own files (null).
   * @returns null where the path is none of the page's
   */
  handle(request: Request, data: PageData | null): Response | Promise<Response> | null;
}

/** What is kept of a rollout after Temporal has forgotten it. */
export interface Archive {
  /** The decision record as it was written, or null where there is none. */
  find(rolloutId: string): Promise<ArchivedRun | null>;
  /** Its trail in order, of the run that spoke last; null where none is kept. */
  trail(ref: { readonly lane: LaneRef; readonly rolloutId: string }): Promise<readonly TrailEntry[] | null>;
}

export interface ArchivedRun {
  readonly view: RolloutView;
  /** The whole decision record, for download. */
  readonly record: unknown;
}

/** Evidence by digest. */
export interface Evidence {
  /** Null: there is nothing of that digest. */
  get(digest: string): Promise<unknown>;
}

/** One request that was refused, for the server's own log of such things. */
export interface Refusal {
  /** ISO 8601. */
  readonly at: string;
  readonly requestId: string;
  /** Null: nobody knows who it was. */
  readonly subject: string | null;
  readonly method: string;
  readonly route: string;
  readonly status: number;
  /** Of the problem catalogue. */
  readonly code: string;
  readonly text: string;
  readonly rolloutId: string | null;
}

export interface RefusalLog {
  refused(entry: Refusal): void;
}

/** Everything that the server can do with more than Temporal. */
export interface Seams {
  readonly page?: Page;
  readonly archive?: Archive;
  readonly evidence?: Evidence;
  readonly refusals?: RefusalLog;
}
