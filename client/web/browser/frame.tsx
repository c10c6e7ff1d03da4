/** What is around every page: the head, how live it is, what is read out, the foot. */
import { computed, effect, signal, useComputed } from '@preact/signals';
import type { ReadonlySignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Me } from '../../server/contract.js';
import { LIST_PATH, LOGIN_PATH } from '../boot.js';
import type { ShownProblem } from '../boot.js';
import { logOut } from './api.js';
import { now } from './clock.js';
import { CommandTokenButton } from './command-token.js';
import { tellLoggedOut } from './session.js';
import type { Live } from './store.js';
import type { Link } from './stream.js';
import { clockText, plain, spanText } from './words.js';

/** Read out at the next pause; what comes within five seconds is read as one. */
const polite = signal('');
/** Read out at once: rolled back, you are needed, the connection is lost. */
const urgent = signal('');

const POLITE_MS = 5000;
let politeTimer: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  clearTimeout(politeTimer);
  politeTimer = setTimeout(() => (polite.value = plain(text)), POLITE_MS);
}

export function sayNow(text: string): void {
  urgent.value = plain(text);
}

export function Frame(props: {
  readonly me: Me | null;
  readonly version: string;
  readonly live?: Live;
  /** When what is shown was so, ISO 8601. */
  readonly asOf?: ReadonlySignal<string>;
  readonly children: ComponentChildren;
}) {
  const { me, version, live, asOf, children } = props;
  return (
    <>
      <a class="skip" href="#content">
        To the content
      </a>
      <header class="top">
        <div class="bar">
          <a class="brand" href={LIST_PATH}>
            <Mark />
            Slipway
          </a>
          {live !== undefined && asOf !== undefined && <LinkState live={live} asOf={asOf} />}
          {me !== null && <Who me={me} />}
        </div>
      </header>
      {me?.local === true && (
        <p class="notice local" role="note">
          <b>No login: this machine only.</b> Whoever opens this page here may do everything; it is recorded as “local”.
        </p>
      )}
      {live !== undefined && asOf !== undefined && <LostNotice live={live} asOf={asOf} />}
      <main id="content" tabIndex={-1}>
        {children}
      </main>
      <footer class="foot">Slipway {version}</footer>
      {/* Both are there, empty, before anything is said: else it is not read out. */}
      <div class="unseen" role="status" aria-live="polite">
        {polite}
      </div>
      <div class="unseen" role="alert">
        {urgent}
      </div>
    </>
  );
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path d="M5 24h22M6 20.5l18-11.5M24 9l-7.4.6M24 9l-3.5 6.4" />
    </svg>
  );
}

function Who({ me }: { readonly me: Me }) {
  const [problem, setProblem] = useState<string | null>(null);
  const { identity, local } = me;
  const leave = async (): Promise<void> => {
    const result = await logOut(me.csrf);
    if (result.kind === 'found') {
      tellLoggedOut(me);
      location.assign(LOGIN_PATH);
    } else setProblem(result.kind === 'problem' ? result.problem.title : 'The server did not answer');
  };
  return (
    <div class="who">
      <span title={plain(identity.subject)}>{plain(identity.name)}</span>
      {!local && (
        <>
          <CommandTokenButton me={me} />
          <button type="button" class="quiet" onClick={() => void leave()}>
            Log out
          </button>
        </>
      )}
      {problem !== null && <span role="alert">{problem}</span>}
    </div>
  );
}

const LINK_WORDS: Readonly<Record<Link['kind'], string>> = {
  connecting: 'connecting',
  live: 'live',
  asking: 'every 5 s',
  lost: 'not live',
  ended: 'over',
  refused: 'not live',
};

function LinkState({ live, asOf }: { readonly live: Live; readonly asOf: ReadonlySignal<string> }) {
  const { kind } = live.link.value;
  const asOfText = useComputed(() => `as of ${clockText(Date.parse(asOf.value))}`);
  return (
    <p class={`link-state ${kind}`}>
      <span class="dot" aria-hidden="true" />
      <span>{LINK_WORDS[kind]}</span> <span class="soft as-of">{asOfText}</span>
    </p>
  );
}

/** Lost, offline and refused don't look alike, and none of them looks like an empty page. */
function LostNotice({ live, asOf }: { readonly live: Live; readonly asOf: ReadonlySignal<string> }) {
  const link = live.link.value;
  useEffect(() => announceLink(live.link), [live]);
  const shown = clockText(Date.parse(asOf.value));
  switch (link.kind) {
    case 'lost':
      return (
        <div class={`notice ${link.offline ? 'offline' : 'lost'}`}>
          <b>{link.offline ? 'This machine is offline.' : 'The connection to the server is lost.'}</b> What you see is
          as of {shown} and may have changed. <NextTry atMs={link.retryAtMs} />{' '}
          <button type="button" class="quiet" onClick={() => live.tryNow()}>
            Try now
          </button>
        </div>
      );
    case 'refused':
      return (
        <div class="notice refused">
          <b>{plain(link.problem.title)}.</b> {plain(link.problem.detail)} What you see is as of {shown}.{' '}
          {link.problem.status === 401 ? <LoginLink /> : plain(link.problem.next)}
        </div>
      );
    case 'ended':
      // A rollout that is over is told by its state; only the end of a session needs somebody.
      return /session/.test(link.reason) ? (
        <div class="notice refused">
          <b>Your session is over.</b> What you see is as of {shown}. <LoginLink />
        </div>
      ) : null;
    case 'connecting':
    case 'live':
    case 'asking':
      return null;
  }
}

function LoginLink() {
  return <a href={loginAgainPath()}>Log in again</a>;
}

/** A new login, and back to here. */
export function loginAgainPath(): string {
  return `${LOGIN_PATH}?fresh=1&return=${encodeURIComponent(`${location.pathname}${location.search}`)}`;
}

function NextTry({ atMs }: { readonly atMs: number }) {
  // Read so that it is drawn each second; times to wait are of this machine's clock.
  void now.value;
  const leftMs = atMs - Date.now();
  return <span class="soft">{leftMs > 500 ? `Next try in ${spanText(leftMs)}.` : 'Trying …'}</span>;
}

/** Says once that the connection is lost, and once that it is back. */
function announceLink(link: ReadonlySignal<Link>): () => void {
  const lost = computed(() => link.value.kind === 'lost');
  let was = false;
  return effect(() => {
    if (lost.value && !was) sayNow('The connection is lost; what is shown may be old.');
    if (!lost.value && was) sayNow('The connection is back.');
    was = lost.value;
  });
}

export function ProblemBox({ problem }: { readonly problem: ShownProblem }) {
  return (
    <section class="problem">
      <h1>{plain(problem.title)}</h1>
      <p>{plain(problem.detail)}</p>
      <p>{plain(problem.next)}</p>
      <p>
        {problem.status === 401 ? (
          <a href={LOGIN_PATH}>Log in</a>
        ) : (
          <>
            <a href={LIST_PATH}>All rollouts</a> ·{' '}
            <button type="button" class="quiet" onClick={() => location.reload()}>
              Try again
            </button>
          </>
        )}
      </p>
    </section>
  );
}

/** A time, with all of it in its title. */
export function Moment({ iso, text }: { readonly iso: string; readonly text: string }) {
  return (
    <time dateTime={iso} title={iso}>
      {text}
    </time>
  );
}
