/**
 * Server-sent events for all tabs of a browser together. Over HTTP/1.1 a browser has six connections to a server; with a
 * stream in each tab the seventh would hang, decisions included. So the tabs of one login that look at the same
 * thing share one stream, held by the tab that has its lock, and no more than `SLOTS` streams are open at all: the rest
 * ask now and then. What is told is made for one person: tabs of another login share nothing with these.
 */
import { createParser } from 'eventsource-parser';
import type { Me, StreamEvent } from '../../server/contract.js';
import type { ShownProblem } from '../boot.js';
import { problemOf } from './api.js';
import { csrfHeader, onLoggedOut, sessionName } from './session.js';

/** Whether what is shown is what is. */
export type Link =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  /** No stream is free: the state is asked for every so often. */
  | { readonly kind: 'asking' }
  /** `retryAtMs` by this machine's clock. */
  | { readonly kind: 'lost'; readonly sinceMs: number; readonly retryAtMs: number; readonly offline: boolean }
  /** Nothing more comes: the rollout is over, or the session. */
  | { readonly kind: 'ended'; readonly reason: string }
  | { readonly kind: 'refused'; readonly problem: ShownProblem };

export interface Source {
  /** Path of the stream, such as `/runs/3f2a/events`. */
  readonly events: string;
  /** Asks for the same state once. */
  readonly ask: { readonly path: string; readonly event: 'run' | 'runs' };
  /** For whom. */
  readonly me: Me;
}

export interface Listener {
  event(event: StreamEvent): void;
  link(link: Link): void;
}

/** What tabs tell each other of one stream. */
type Told =
  | { readonly kind: 'hello' }
  | { readonly kind: 'event'; readonly event: StreamEvent }
  | { readonly kind: 'link'; readonly link: Link };

const SLOTS = 4;
/** The server says something each 15 s. */
const SILENCE_MS = 45_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const ASK_EVERY_MS = 5000;

export interface Following {
  /** Does not wait for the next try. */
  tryNow(): void;
}

/** Follows a stream until the page goes away. */
export function follow(source: Source, listener: Listener): Following {
  const followed = new Followed(source, listener);
  void followed.run();
  return followed;
}

class Followed implements Following {
  /** Of the channel and of the lock. */
  private readonly name: string;
  private readonly channel: BroadcastChannel | null;
  /** The last of each kind, for tabs that come later. */
  private readonly last = new Map<string, StreamEvent>();
  private link: Link = { kind: 'connecting' };
  private leads = false;
  /** Its login was ended in another tab: whatever still comes is not shown. */
  private loggedOut = false;
  private heardAtMs = Date.now();
  private wake: () => void = () => undefined;
  private lastId = '';

  constructor(
    private readonly source: Source,
    private readonly listener: Listener,
  ) {
    this.name = `slipway ${source.events} ${sessionName(source.me)}`;
    this.channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel(this.name) : null;
    this.channel?.addEventListener('message', ({ data }: MessageEvent<Told>) => this.hear(data));
    for (const name of ['online', 'pageshow']) addEventListener(name, () => this.tryNow());
    addEventListener('offline', () => this.tryNow());
    onLoggedOut(source.me, () => this.logOut());
  }

  tryNow(): void {
    this.wake();
  }

  async run(): Promise<void> {
    // Locks are there on secure origins only (and on this machine's own); elsewhere each tab is on its own.
    if (!('locks' in navigator) || this.channel === null) return this.lead();
    this.tell({ kind: 'hello' });
    const watchdog = setInterval(() => {
      if (this.leads || Date.now() - this.heardAtMs < SILENCE_MS) return;
      // Whoever holds the lock says nothing any more: a tab that the browser has frozen.
      this.heardAtMs = Date.now();
      void navigator.locks.request(this.name, { steal: true }, () => this.lead()).catch(() => undefined);
    }, 5000);
    for (;;) {
      // Settles when nothing more comes; fails when another tab takes the lock, and then this one listens again.
      const over = await navigator.locks
        .request(this.name, () => this.lead())
        .then(
          () => true,
          () => false,
        );
      this.leads = false;
      if (over) break;
    }
    clearInterval(watchdog);
  }

  private logOut(): void {
    this.says({ kind: 'ended', reason: 'your session is over: you logged out in another tab' });
    this.loggedOut = true;
    this.last.clear();
    this.wake();
  }

  private hear(told: Told): void {
    if (this.loggedOut) return;
    if (told.kind === 'hello') {
      if (!this.leads) return;
      for (const event of this.last.values()) this.tell({ kind: 'event', event });
      this.tell({ kind: 'link', link: this.link });
      return;
    }
    if (this.leads) return;
    this.heardAtMs = Date.now();
    if (told.kind === 'event') this.listener.event(told.event);
    else this.listener.link(told.link);
  }

  private tell(told: Told): void {
    this.channel?.postMessage(told);
  }

  private event(event: StreamEvent): void {
    if (this.loggedOut) return;
    this.last.set(event.event, event);
    this.listener.event(event);
    this.tell({ kind: 'event', event });
  }

  private says(link: Link): void {
    if (this.loggedOut) return;
    this.link = link;
    this.listener.link(link);
    this.tell({ kind: 'link', link });
  }

  /** Until nothing more comes. */
  private async lead(): Promise<void> {
    this.leads = true;
    let lostAtMs: number | null = null;
    for (let attempt = 0; !this.loggedOut;) {
      const end = await this.inSlot();
      if (end.kind === 'over') return this.says(end.link);
      if (this.loggedOut) return;
      if (end.kind === 'worked') {
        attempt = 0;
        lostAtMs = null;
      }
      lostAtMs ??= Date.now();
      // Half of it by chance: a thousand pages that lost the same server must not come back at the same moment.
      const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt) * (0.5 + Math.random() / 2);
      attempt += 1;
      this.says({ kind: 'lost', sinceMs: lostAtMs, retryAtMs: Date.now() + waitMs, offline: !navigator.onLine });
      await this.pause(waitMs);
    }
  }

  private async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = () => undefined;
  }

  /** Streams if one of the slots is free, and asks once in a while until one is. */
  private async inSlot(): Promise<End> {
    if (!('locks' in navigator)) return this.stream();
    for (;;) {
      for (let slot = 0; slot < SLOTS; slot++) {
        const end = await navigator.locks.request(`slipway slot ${slot}`, { ifAvailable: true }, (lock) =>
          lock === null ? null : this.stream(),
        );
        if (end !== null) return end;
      }
      const end = await this.ask();
      if (end !== null) return end;
      await this.pause(ASK_EVERY_MS);
      if (this.loggedOut) return { kind: 'failed' };
    }
  }

  private async ask(): Promise<End | null> {
    const { path, event } = this.source.ask;
    try {
      const response = await fetch(path, {
        headers: csrfHeader(this.source.me.csrf),
        signal: AbortSignal.timeout(SILENCE_MS),
        redirect: 'error',
      });
      if (!response.ok) return await ended(response);
      this.says({ kind: 'asking' });
      this.event({ event, data: await response.json() } as StreamEvent);
      return null;
    } catch {
      return { kind: 'failed' };
    }
  }

  private async stream(): Promise<End> {
    const aborter = new AbortController();
    let timer = setTimeout(() => aborter.abort(), SILENCE_MS);
    // The browser may be told of a lost network long before a read fails.
    this.wake = () => aborter.abort();
    let worked = false;
    try {
      const response = await fetch(this.source.events, {
        headers: {
          accept: 'text/event-stream',
          ...csrfHeader(this.source.me.csrf),
          ...(this.lastId === '' ? {} : { 'last-event-id': this.lastId }),
        },
        cache: 'no-store',
        redirect: 'error',
        signal: aborter.signal,
      });
      if (!response.ok || response.body === null) return await ended(response);
      let over: string | null = null;
      const parser = createParser({
        onEvent: ({ event, data, id }) => {
          if (id !== undefined) this.lastId = id;
          const told = { event, data: JSON.parse(data) } as StreamEvent;
          if (told.event === 'end') over = told.data.reason;
          else this.event(told);
        },
      });
      this.says({ kind: 'live' });
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        worked = true;
        clearTimeout(timer);
        timer = setTimeout(() => aborter.abort(), SILENCE_MS);
        parser.feed(decoder.decode(value, { stream: true }));
        if (over !== null) return { kind: 'over', link: { kind: 'ended', reason: over } };
      }
      return { kind: 'worked' };
    } catch {
      // Lost, silent for too long, or not understood: whatever it was, what is shown may be old from here on.
      return { kind: worked ? 'worked' : 'failed' };
    } finally {
      clearTimeout(timer);
      this.wake = () => undefined;
      aborter.abort();
    }
  }
}

type End = { readonly kind: 'worked' } | { readonly kind: 'failed' } | { readonly kind: 'over'; readonly link: Link };

/** A server that says no stays with it; one that can't answer now may later. */
async function ended(response: Response): Promise<End> {
  if (![401, 403, 404].includes(response.status)) return { kind: 'failed' };
  return { kind: 'over', link: { kind: 'refused', problem: await problemOf(response) } };
}
