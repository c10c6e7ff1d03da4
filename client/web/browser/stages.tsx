/** The way of a rollout as a strip: where it is, how much traffic each step gives, how long this one still takes. */
import type { ReadonlySignal } from '@preact/signals';
import type { RunDocument } from '../../server/contract.js';
import { isFinal } from '../../../domain/rollout.js';
import type { Phase, RolloutView } from '../../../domain/rollout.js';
import { durationText, percentText } from '../../../domain/words.js';
import type { LiveStage } from '../../../domain/live.js';
import { now } from './clock.js';
import { spanText } from './words.js';

type StepState = 'done' | 'here' | 'bad' | 'ahead' | 'skipped';

interface Step {
  readonly name: string;
  readonly detail: string;
  readonly state: StepState;
  /** The stage that a watch names so. */
  readonly stage: string | null;
}

const STATE_WORDS: Readonly<Record<StepState, string>> = {
  done: 'done',
  here: 'now',
  bad: 'ended here',
  ahead: 'to come',
  skipped: 'not reached',
};

export function StageStrip({
  run,
  stages,
}: {
  readonly run: ReadonlySignal<RunDocument>;
  readonly stages: ReadonlySignal<ReadonlyMap<string, LiveStage>>;
}) {
  const { view } = run.value;
  return (
    <section class="card strip" aria-labelledby="stages">
      <h2 id="stages">Stages</h2>
      <ol>
        {stepsOf(view).map((step) => (
          <li key={step.name} class={step.state} aria-current={step.state === 'here' ? 'step' : undefined}>
            <b>{step.name}</b>
            <span class="soft">{step.detail}</span>
            <span class="unseen">{STATE_WORDS[step.state]}</span>
            {step.state === 'here' && (
              <Left live={step.stage === null ? undefined : stages.value.get(step.stage)} view={view} />
            )}
          </li>
        ))}
      </ol>
      {view.weights !== null && <Traffic weights={view.weights} />}
    </section>
  );
}

function Left({ live, view }: { readonly live: LiveStage | undefined; readonly view: RolloutView }) {
  if (view.paused) return <span class="left">paused</span>;
  if (live === undefined || isFinal(view.phase)) return null;
  const leftMs = live.startMs + live.durationMs - now.value;
  const share = Math.min(1, Math.max(0, 1 - leftMs / Math.max(1, live.durationMs)));
  return (
    <>
      <progress value={share} max={1} aria-label="Time of this stage that is over" />
      <span class="left">{leftMs > 0 ? `${spanText(leftMs)} left` : 'time is up: waits for the verdict'}</span>
    </>
  );
}

const BEFORE: readonly Phase[] = ['accepted', 'assessing', 'gating'];

function stepsOf(view: RolloutView): readonly Step[] {
  const { plan, phase } = view;
  const verdictOf = (name: string) => view.verdicts.findLast((entry) => entry.stage === name)?.verdict.kind ?? null;
  const gated = view.approvals !== null || view.decisions.some((decision) => decision.verb === 'approve');
  const canaries = plan?.stages ?? [];
  const names = ['assess', 'approve', ...canaries.map(({ number }) => `stage-${number}`), 'promote', 'verify'];
  const reached = reachedOf(view, names, verdictOf);
  const over = isFinal(phase) || phase === 'rolling-back';
  const stateOf = (name: string): StepState => {
    const [own, at] = [names.indexOf(name), names.indexOf(reached)];
    if (phase === 'completed') return 'done';
    if (own < at) return 'done';
    if (own > at) return over ? 'skipped' : 'ahead';
    return over ? 'bad' : 'here';
  };
  return [
    {
      name: 'Risk',
      detail:
        view.assessment === null
          ? 'to be assessed'
          : `${view.assessment.risk.score.toFixed(2)} ${view.assessment.risk.level}`,
      state: stateOf('assess'),
      stage: null,
    },
    {
      name: 'Approval',
      detail: gated ? approvalText(view) : approvalNeed(view),
      state: stateOf('approve'),
      stage: null,
    },
    ...canaries.map(({ number, weights, durationMs, approval }) => ({
      name: `Canary ${percentText(weights.canary)}`,
      detail: `${durationText(durationMs)}${approval ? ', after approval' : ''}`,
      state: stateOf(`stage-${number}`),
      stage: `stage-${number}`,
    })),
    { name: 'All traffic', detail: 'promote', state: stateOf('promote'), stage: null },
    { name: 'Verify', detail: durationText(view.policy.verifyMs), state: stateOf('verify'), stage: 'verify' },
  ];
}

/** The name of the step that a rollout is at, or was at when it turned back. */
function reachedOf(view: RolloutView, names: readonly string[], verdictOf: (name: string) => string | null): string {
  const { phase, stage } = view;
  if (BEFORE.includes(phase)) return 'assess';
  if (phase === 'awaiting-approval' || phase === 'preflight') return stage === null ? 'approve' : `stage-${stage}`;
  if (phase === 'canary') return `stage-${stage ?? 1}`;
  if (phase === 'promoting') return 'promote';
  if (phase === 'verifying' || phase === 'settling' || phase === 'completed') return 'verify';
  if (verdictOf('verify') !== null) return 'verify';
  if (stage !== null) return `stage-${stage}`;
  return view.approvals !== null && names.includes('approve') ? 'approve' : 'assess';
}

function approvalText({ approvals }: RolloutView): string {
  if (approvals === null) return 'given';
  if (approvals.rejectedBy !== null) return 'rejected';
  return `${approvals.approvedBy.length} of ${approvals.quorum}`;
}

function approvalNeed(view: RolloutView): string {
  return view.assessment === null ? 'by risk and policy' : 'not asked for';
}

const ARMS = [
  ['stable', 'stable'],
  ['canary', 'canary'],
  ['baseline', 'baseline'],
] as const;

function Traffic({ weights }: { readonly weights: NonNullable<RolloutView['weights']> }) {
  const shown = ARMS.filter(([arm]) => weights[arm] > 0);
  return (
    <div class="traffic">
      <div class="split" aria-hidden="true">
        {shown.map(([arm]) => (
          <span key={arm} class={arm} style={{ width: `${weights[arm]}%` }} />
        ))}
      </div>
      <p>
        <span class="soft">Traffic now:</span>{' '}
        {shown.map(([arm, name]) => (
          <span key={arm} class="arm">
            <i class={`key ${arm}`} aria-hidden="true" />
            {name} {percentText(weights[arm])}
          </span>
        ))}
      </p>
    </div>
  );
}
