/** One rollout, live. */
import { effect, useComputed } from '@preact/signals';
import type { ReadonlySignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { RunDocument } from '../../server/contract.js';
import type { RolloutView } from '../../../domain/rollout.js';
import { LIST_PATH } from '../boot.js';
import type { Boot } from '../boot.js';
import { changesOf } from '../changes.js';
import { Canary } from './canary.js';
import { Command } from './command.js';
import { Actions } from './decide.js';
import { Decisions, Gate, GlassBroken, Links, PlanCard, RiskCard, Since, Timeline, Waiting } from './facts.js';
import { Frame, say, sayNow } from './frame.js';
import { StageStrip } from './stages.js';
import type { RolloutStore } from './store.js';
import { announcement, plain, rolloutTitle, statusWord, toneOf } from './words.js';

export function RolloutPage({
  boot,
  store,
}: {
  readonly boot: Extract<Boot, { readonly page: 'rollout' }>;
  readonly store: RolloutStore;
}) {
  const { run, stages } = store;
  const asOf = useComputed(() => run.value.asOf);
  const asked = useRef<RolloutView | null>(null);
  useEffect(() => announce(run), [run]);
  const { view, summary } = run.value;
  // What this person was asked first: a plan is made only when a rollout has got so far.
  if (asked.current === null && view.approvals !== null) asked.current = view;
  return (
    <Frame me={boot.me} version={boot.version} live={store} asOf={asOf}>
      <Head run={run} />
      {view.breakGlass !== null && <GlassBroken broken={view.breakGlass} />}
      <Waiting view={view} />
      <div class="columns">
        <div class="doing">
          {view.approvals !== null && view.approvals.closed === null && view.endedAt === null && (
            <Gate
              approvals={view.approvals}
              changed={changesOf(asked.current ?? view, view)}
              remarks={run.value.remarks}
            />
          )}
          <Actions run={run} me={boot.me} />
        </div>
        <div class="story">
          <StageStrip run={run} stages={stages} />
          <Canary run={run} stages={stages} />
          {view.warnings.length > 0 && <Warnings warnings={view.warnings} />}
          {(view.assessment !== null || view.plan !== null) && (
            <div class="pair">
              {view.assessment !== null && <RiskCard assessment={view.assessment} />}
              {view.plan !== null && <PlanCard view={view} plan={view.plan} />}
            </div>
          )}
          <Timeline entries={view.timeline} />
        </div>
        <div class="rest">
          <Decisions decisions={view.decisions} />
          <Links run={run} />
          <Command text={`npx slipway watch ${summary.rolloutId}`} label="Follow it in a terminal" />
        </div>
      </div>
    </Frame>
  );
}

function Head({ run }: { readonly run: ReadonlySignal<RunDocument> }) {
  const { view, summary } = run.value;
  const message = view.release.change.message;
  return (
    <header class="head">
      <p class="crumbs">
        <a href={LIST_PATH}>Rollouts</a> <span aria-hidden="true">/</span> {plain(view.lane.environment)}{' '}
        <span aria-hidden="true">/</span> {plain(view.lane.service)}
      </p>
      <h1>
        <span class="release">{plain(view.releaseName)}</span>
        <span class={`pill ${toneOf(summary.status)}`}>{statusWord(summary.status)}</span>
      </h1>
      <p class="soft">
        by {plain(view.actor.name ?? view.actor.subject)}, <Since view={view} /> · <code>{summary.rolloutId}</code>
      </p>
      {message !== null && <p class="message">{plain(message.split('\n')[0] ?? '')}</p>}
      {view.reason !== null && <p class={`reason ${toneOf(summary.status)}`}>{plain(view.reason.text)}</p>}
    </header>
  );
}

function Warnings({ warnings }: { readonly warnings: readonly string[] }) {
  return (
    <section class="card" aria-labelledby="warnings">
      <h2 id="warnings">
        Warnings <span class="count">{warnings.length}</span>
      </h2>
      <ul>
        {warnings.map((warning) => (
          <li key={warning}>{plain(warning)}</li>
        ))}
      </ul>
    </section>
  );
}

/** The title of the tab, and what is read out: steps politely; going back, and being needed, at once. */
function announce(run: ReadonlySignal<RunDocument>): () => void {
  let before: RunDocument | null = null;
  return effect(() => {
    const { view, summary } = run.value;
    document.title = rolloutTitle(summary);
    if (before !== null) {
      const line = announcement(view);
      if (toneOf(summary.status) === 'bad' && toneOf(before.summary.status) !== 'bad') sayNow(line);
      else if (summary.waitsForMe && !before.summary.waitsForMe) sayNow(`You are needed: ${line}`);
      else if (line !== announcement(before.view)) say(line);
    }
    before = run.value;
  });
}
