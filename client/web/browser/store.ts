/** What a page knows, as signals; events are put in together, once a frame. */
import { batch, signal } from '@preact/signals';
import type { ReadonlySignal, Signal } from '@preact/signals';
import type { Me, RunDocument, RunList, StreamEvent } from '../../server/contract.js';
import type { LiveStage } from '../../../domain/live.js';
import { serverSays } from './clock.js';
import { follow } from './stream.js';
import type { Link, Source } from './stream.js';

/** A page's connection to what it shows. */
export interface Live {
  readonly link: ReadonlySignal<Link>;
  tryNow(): void;
}

export interface ListStore extends Live {
  readonly runs: ReadonlySignal<RunList>;
}

export interface RolloutStore extends Live {
  readonly run: ReadonlySignal<RunDocument>;
  /** By the name of their stage, the last one last: a stage that is over stays for as long as the page is open. */
  readonly stages: ReadonlySignal<ReadonlyMap<string, LiveStage>>;
}

/** The last of each kind is enough: each is a whole state. */
function perFrame(apply: (event: StreamEvent) => void): (event: StreamEvent) => void {
  const waiting = new Map<string, StreamEvent>();
  let due = false;
  const run = (): void => {
    due = false;
    const events = [...waiting.values()];
    waiting.clear();
    batch(() => {
      for (const event of events) apply(event);
    });
  };
  return (event) => {
    waiting.set(event.event, event);
    if (due) return;
    due = true;
    // Frames stop in a hidden tab, whose title still has to tell.
    if (document.hidden) setTimeout(run, 200);
    else requestAnimationFrame(run);
  };
}

function following(source: Source, apply: (event: StreamEvent) => void): Live {
  const link: Signal<Link> = signal<Link>({ kind: 'connecting' });
  const followed = follow(source, { event: perFrame(apply), link: (found) => (link.value = found) });
  return { link, tryNow: () => followed.tryNow() };
}

export function listStore(first: RunList, me: Me): ListStore {
  const runs = signal(first);
  serverSays(first.asOf);
  const ask = { path: '/runs?state=open&limit=100', event: 'runs' } as const;
  const live = following({ events: '/events', ask, me }, (event) => {
    if (event.event !== 'runs') return;
    serverSays(event.data.asOf);
    runs.value = event.data;
  });
  return { ...live, runs };
}

export function rolloutStore(first: RunDocument, me: Me): RolloutStore {
  const run = signal(first);
  const stages = signal<ReadonlyMap<string, LiveStage>>(new Map());
  const seen = (live: LiveStage | null): void => {
    if (live === null || stages.peek().get(live.stage) === live) return;
    stages.value = new Map([...stages.peek(), [live.stage, live]]);
  };
  serverSays(first.asOf);
  seen(first.live);
  const path = `/runs/${encodeURIComponent(first.summary.rolloutId)}`;
  if (first.summary.outcome !== null) {
    const over: Link = { kind: 'ended', reason: 'the rollout is over' };
    return { run, stages, link: signal(over), tryNow: () => undefined };
  }
  const live = following({ events: `${path}/events`, ask: { path, event: 'run' }, me }, (event) => {
    if (event.event === 'live') return seen(event.data);
    if (event.event !== 'run') return;
    serverSays(event.data.asOf);
    run.value = event.data;
    seen(event.data.live);
  });
  return { ...live, run, stages };
}
