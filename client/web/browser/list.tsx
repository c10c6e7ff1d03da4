/** All rollouts: what waits for whoever looks, what is in flight, what ended. */
import { computed, effect, signal, useComputed, useSignal } from '@preact/signals';
import type { ReadonlySignal, Signal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import type { RunList, RunSummary } from '../../server/contract.js';
import type { QueuePlace } from '../../../domain/lane.js';
import { percentText } from '../../../domain/words.js';
import { rolloutPath } from '../boot.js';
import type { Boot } from '../boot.js';
import { endedRuns } from './api.js';
import { now } from './clock.js';
import { Frame, Moment, sayNow } from './frame.js';
import type { ListStore } from './store.js';
import { momentText, plain, spanText, statusWord, toneOf, waitWord } from './words.js';

interface Filter {
  readonly text: string;
  readonly environment: string;
  readonly state: string;
}

const STATES = [
  ['', 'any state'],
  ['waiting', 'waiting for anybody'],
  ['going', 'going on'],
  ['good', 'completed'],
  ['bad', 'rolled back'],
  ['over', 'rejected, aborted, superseded'],
] as const;

function matches(run: RunSummary, { text, environment, state }: Filter): boolean {
  if (environment !== '' && run.environment !== environment) return false;
  const tone = toneOf(run.status);
  if (state === 'waiting' ? run.waitsFor === null || run.endedAt !== null : state !== '' && tone !== state)
    return false;
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  const about = `${run.service} ${run.environment} ${run.release} ${run.rolloutId}`.toLowerCase();
  return words.every((word) => about.includes(word));
}

export function ListPage({
  boot,
  store,
}: {
  readonly boot: Extract<Boot, { readonly page: 'list' }>;
  readonly store: ListStore;
}) {
  const model = useMemo(() => listModel(store, boot.ended), [store]);
  const filter = useSignal(filterOfAddress());
  const asOf = useComputed(() => store.runs.value.asOf);
  const shown = (runs: ReadonlySignal<readonly RunSummary[]>) => runs.value.filter((run) => matches(run, filter.value));
  useEffect(() => {
    const stops = [
      effect(() => titleOf(model.mine.value.length)),
      effect(() => keepFilter(filter.value)),
      model.follow(),
    ];
    return () => stops.forEach((stop) => stop());
  }, [model]);
  const [mine, flying, ended] = [shown(model.mine), shown(model.flying), shown(model.ended)];
  const any = model.mine.value.length + model.flying.value.length + model.ended.value.length > 0;
  return (
    <Frame me={boot.me} version={boot.version} live={store} asOf={asOf}>
      <h1 class="unseen">Rollouts</h1>
      {any ? <Filters filter={filter} all={model.all} /> : <NothingYet />}
      {any && (
        <>
          <RunTable
            title="Waiting for me"
            runs={mine}
            all={model.mine.value.length}
            empty="Nothing waits for you."
            loud
          />
          <RunTable
            title="In flight"
            runs={flying}
            all={model.flying.value.length}
            empty="Nothing else is in flight."
          />
          <RunTable title="Recently ended" runs={ended} all={model.ended.value.length} empty="Nothing has ended yet." />
          <More model={model} />
        </>
      )}
    </Frame>
  );
}

interface ListModel {
  readonly mine: ReadonlySignal<readonly RunSummary[]>;
  readonly flying: ReadonlySignal<readonly RunSummary[]>;
  readonly ended: ReadonlySignal<readonly RunSummary[]>;
  readonly all: ReadonlySignal<readonly RunSummary[]>;
  readonly next: ReadonlySignal<string | null>;
  readonly problem: ReadonlySignal<string | null>;
  /** Brings the ended ones up to date whenever one is in flight no longer. */
  follow(): () => void;
  more(): Promise<void>;
}

function listModel({ runs }: ListStore, first: RunList): ListModel {
  const older = signal<readonly RunSummary[]>(first.runs);
  const next = signal(first.next);
  const problem = signal<string | null>(null);
  const open = computed(() => runs.value.runs.filter((run) => run.endedAt === null));
  const mine = computed(() => open.value.filter((run) => run.waitsForMe));
  const flying = computed(() => open.value.filter((run) => !run.waitsForMe));
  const ended = computed(() => {
    const live = new Set(open.value.map((run) => run.rolloutId));
    const known = new Map<string, RunSummary>();
    for (const run of [...runs.value.runs.filter((run) => run.endedAt !== null), ...older.value])
      if (!live.has(run.rolloutId) && !known.has(run.rolloutId)) known.set(run.rolloutId, run);
    return [...known.values()].sort((one, other) => (other.endedAt ?? '').localeCompare(one.endedAt ?? ''));
  });
  const take = async (cursor: string | null): Promise<void> => {
    const result = await endedRuns(cursor);
    if (result.kind !== 'found') {
      problem.value =
        result.kind === 'problem' ? `${result.problem.title}. ${result.problem.next}` : 'The server did not answer.';
      return;
    }
    problem.value = null;
    const known = new Set(result.value.runs.map((run) => run.rolloutId));
    const others = older.value.filter((run) => !known.has(run.rolloutId));
    older.value = [...result.value.runs, ...others];
    if (cursor !== null || next.value === null) next.value = result.value.next;
  };
  return {
    mine,
    flying,
    ended,
    all: computed(() => [...open.value, ...ended.value]),
    next,
    problem,
    follow() {
      let before = new Set(open.value.map((run) => run.rolloutId));
      let waiting = mine.value.length;
      return effect(() => {
        const now = new Set(open.value.map((run) => run.rolloutId));
        const gone = [...before].filter((id) => !now.has(id));
        before = now;
        if (gone.length > 0) void take(null);
        if (mine.value.length > waiting) sayNow(`${mine.value.length} waiting for you`);
        waiting = mine.value.length;
      });
    },
    more: () => take(next.value),
  };
}

function titleOf(waiting: number): void {
  document.title = `${waiting > 0 ? `(${waiting}) ` : ''}Rollouts · Slipway`;
}

/** The filter is in the address, so that a filtered list can be sent to somebody. */
function filterOfAddress(): Filter {
  const query = new URLSearchParams(location.search);
  const get = (name: string): string => query.get(name) ?? '';
  return { text: get('q'), environment: get('environment'), state: get('state') };
}

function keepFilter({ text, environment, state }: Filter): void {
  const query = new URLSearchParams();
  if (text !== '') query.set('q', text);
  if (environment !== '') query.set('environment', environment);
  if (state !== '') query.set('state', state);
  const search = query.size === 0 ? '' : `?${query.toString()}`;
  if (search !== location.search) history.replaceState(null, '', `${location.pathname}${search}`);
}

function Filters({
  filter,
  all,
}: {
  readonly filter: Signal<Filter>;
  readonly all: ReadonlySignal<readonly RunSummary[]>;
}) {
  const environments = [...new Set(all.value.map((run) => run.environment))].sort();
  const { text, environment, state } = filter.value;
  const set = (change: Partial<Filter>): void => void (filter.value = { ...filter.value, ...change });
  return (
    <search class="filters">
      <label>
        <span class="unseen">Service, release or id</span>
        <input
          type="search"
          placeholder="Service, release or id"
          value={text}
          onInput={(event) => set({ text: event.currentTarget.value })}
        />
      </label>
      <label>
        <span class="unseen">Environment</span>
        <select value={environment} onChange={(event) => set({ environment: event.currentTarget.value })}>
          <option value="">any environment</option>
          {environments.map((name) => (
            <option key={name} value={name}>
              {plain(name)}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span class="unseen">State</span>
        <select value={state} onChange={(event) => set({ state: event.currentTarget.value })}>
          {STATES.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
    </search>
  );
}

function NothingYet() {
  return (
    <section class="empty card">
      <h2>No rollout yet</h2>
      <p>This is the right server, and nothing has been shipped through it. The first one starts with:</p>
      <pre>
        <code>npx slipway deploy --tag v1 --wait</code>
      </pre>
      <p class="soft">It appears here by itself.</p>
    </section>
  );
}

function RunTable(props: {
  readonly title: string;
  readonly runs: readonly RunSummary[];
  /** How many there are without the filter. */
  readonly all: number;
  readonly empty: string;
  readonly loud?: boolean;
}) {
  const { title, runs, all, empty, loud = false } = props;
  const id = title.toLowerCase().replaceAll(' ', '-');
  return (
    <section class={`runs ${loud && all > 0 ? 'loud' : ''}`} aria-labelledby={id}>
      <h2 id={id}>
        {title} <span class="count">{runs.length === all ? all : `${runs.length} of ${all}`}</span>
      </h2>
      {runs.length === 0 ? (
        <p class="soft none">{all === 0 ? empty : 'None that the filter lets through.'}</p>
      ) : (
        <table class="dense">
          <thead>
            <tr>
              <th scope="col">Service</th>
              <th scope="col">Environment</th>
              <th scope="col">Release</th>
              <th scope="col">State</th>
              <th scope="col" class="number">
                Canary
              </th>
              <th scope="col" class="number">
                Risk
              </th>
              <th scope="col" class="number">
                {title === 'Recently ended' ? 'Ended' : 'For'}
              </th>
            </tr>
          </thead>
          <tbody>
            {runs.map((run) => (
              <RunRow key={run.rolloutId} run={run} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function RunRow({ run }: { readonly run: RunSummary }) {
  const waits = run.waitsFor === null || run.endedAt !== null ? null : waitWord(run.waitsFor);
  return (
    <tr>
      <th scope="row">
        <a href={rolloutPath(run.rolloutId)}>{plain(run.service)}</a>
      </th>
      <td data-label="in">{plain(run.environment)}</td>
      <td class="release">{plain(run.release)}</td>
      <td>
        <span class={`pill ${toneOf(run.status)}`}>{statusWord(run.status)}</span>
        {run.queue !== null && <Place {...run.queue} />}
        {waits !== null && run.status !== 'awaiting-approval' && <span class="soft waits"> for {waits}</span>}
      </td>
      <td class="number" data-label="canary">
        {run.weightPercent === null || run.endedAt !== null ? (
          <span class="soft">–</span>
        ) : (
          percentText(run.weightPercent)
        )}
      </td>
      <td class="number" data-label="risk">
        {run.risk === null ? <span class="soft">–</span> : run.risk.toFixed(2)}
      </td>
      <td class="number">
        <Age run={run} />
      </td>
    </tr>
  );
}

function Place({ ahead, behind, blocked }: QueuePlace) {
  return (
    <span class="soft waits">
      {' '}
      {ahead === 0 ? 'next' : `${ahead} ahead`}
      {behind !== null && (
        <>
          , behind <a href={rolloutPath(behind)}>{behind}</a>
        </>
      )}
      {blocked !== null && `: the lane is blocked (${plain(blocked)})`}
    </span>
  );
}

function Age({ run }: { readonly run: RunSummary }) {
  if (run.endedAt !== null) return <Moment iso={run.endedAt} text={momentText(Date.parse(run.endedAt), now.peek())} />;
  return <Moment iso={run.startedAt} text={spanText(now.value - Date.parse(run.startedAt))} />;
}

function More({ model }: { readonly model: ListModel }) {
  return (
    <p class="more">
      {model.problem.value !== null && (
        <span class="bad" role="alert">
          {plain(model.problem.value)}{' '}
        </span>
      )}
      {model.next.value !== null && (
        <button type="button" class="button" onClick={() => void model.more()}>
          Older ones
        </button>
      )}
    </p>
  );
}
