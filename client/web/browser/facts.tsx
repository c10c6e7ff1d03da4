/** What is known of a rollout besides its traffic: the gate, the risk, the plan, who decided what, the story. */
import type { ReadonlySignal } from '@preact/signals';
import type { RunDocument } from '../../server/contract.js';
import type { Approvals, BreakGlass, Decision } from '../../../domain/approval/decision.js';
import { countText, whoCan } from '../../../domain/approval/gate.js';
import { configLines, imageLines, planLine } from '../../../domain/details.js';
import type { Plan } from '../../../domain/plan.js';
import type { Assessment } from '../../../domain/risk.js';
import type { RolloutView, TimelineEntry } from '../../../domain/rollout.js';
import { durationText, percentText } from '../../../domain/words.js';
import { now } from './clock.js';
import { Moment } from './frame.js';
import { clockText, momentText, plain, shortDigest, spanText, waitWord } from './words.js';

/** What it waits for: loud, with the time that is left and what happens then. */
export function Waiting({ view }: { readonly view: RolloutView }) {
  const { wait } = view;
  if (wait === null || view.endedAt !== null) return null;
  const { deadline } = wait;
  return (
    <section class="waiting" aria-label="What it waits for">
      <p>
        <b>Waits for {waitWord(wait.kind)}</b> <span class="soft">since {clockText(Date.parse(wait.since))}</span>
        {deadline !== null && <Deadline deadline={deadline} then={wait.atDeadline} />}
      </p>
      <p>{plain(wait.reason)}</p>
      {wait.who !== '' && <p class="soft">Who can act: {plain(wait.who)}.</p>}
    </section>
  );
}

function Deadline({ deadline, then }: { readonly deadline: string; readonly then: string | null }) {
  const leftMs = Date.parse(deadline) - now.value;
  return (
    <span class="deadline">
      {leftMs > 0
        ? `${spanText(leftMs)} left, then ${then ?? 'it goes on'}`
        : `its time is up: ${then ?? 'it goes on'}`}
    </span>
  );
}

/** Somebody went past the others alone: it is said on top, for ever. */
export function GlassBroken({ broken }: { readonly broken: BreakGlass }) {
  return (
    <section class="notice refused glass" aria-label="Break-glass">
      <b>
        {plain(broken.by)} broke the glass{broken.gate === null ? ' over a HOLD' : ` at gate “${plain(broken.gate)}”`}
        {broken.ownWork ? ', for work of their own' : ''}
      </b>{' '}
      <Moment iso={broken.at} text={momentText(Date.parse(broken.at), now.peek())} />: {plain(broken.reason)}
    </section>
  );
}

export function Gate({
  approvals,
  changed,
  remarks,
}: {
  readonly approvals: Approvals;
  readonly changed: readonly string[];
  readonly remarks: readonly string[];
}) {
  const { quorum, approvedBy, rejectedBy, excluded } = approvals;
  const places = Array.from({ length: Math.max(quorum, approvedBy.length) }, (_, i) => approvedBy[i] ?? null);
  return (
    <section class="card gate" aria-labelledby="gate">
      <h2 id="gate">
        Gate “{plain(approvals.gate)}”{' '}
        <span class="count">{rejectedBy === null ? countText(approvals) : 'rejected'}</span>
      </h2>
      <ol class="quorum" aria-label={`${approvedBy.length} of ${quorum} approvals`}>
        {places.map((subject, i) => (
          <li key={subject ?? i} class={subject === null ? 'open' : 'given'}>
            {subject === null ? 'open' : plain(subject)}
          </li>
        ))}
      </ol>
      {rejectedBy !== null && <p class="bad">Rejected by {plain(rejectedBy)}.</p>}
      <dl class="facts">
        <dt>Needed</dt>
        <dd>{plain(whoCan(approvals))}</dd>
        {excluded.length > 0 && (
          <>
            <dt>Not by</dt>
            <dd>{excluded.map(plain).join(', ')}</dd>
          </>
        )}
        <dt>Bound to</dt>
        <dd>
          <code title={approvals.planDigest}>{shortDigest(approvals.planDigest)}</code>
        </dd>
      </dl>
      <Changes title="Not to be opened by those whom this server knows:" changes={remarks} />
      <Changes title="Asked again, since this is not as it was:" changes={approvals.changed} />
      <Changes title="Changed since this page was opened:" changes={changed} />
    </section>
  );
}

function Changes({ title, changes }: { readonly title: string; readonly changes: readonly string[] }) {
  if (changes.length === 0) return null;
  return (
    <div class="notice lost">
      <b>{title}</b>
      <ul>
        {changes.map((change) => (
          <li key={change}>{plain(change)}</li>
        ))}
      </ul>
    </div>
  );
}

export function RiskCard({ assessment }: { readonly assessment: Assessment }) {
  const { risk, model, floor, rulesVersion } = assessment;
  const by =
    model.kind === 'answered'
      ? `rules ${rulesVersion} (${floor.score.toFixed(2)}) and ${plain(model.model)} (${model.score.toFixed(2)})`
      : model.kind === 'failed'
        ? `rules ${rulesVersion} alone: the model failed (${plain(model.reason)})`
        : `rules ${rulesVersion} alone`;
  return (
    <section class="card" aria-labelledby="risk">
      <h2 id="risk">Risk</h2>
      <p class={`risk ${risk.level}`}>
        <b>{risk.score.toFixed(2)}</b> {risk.level}
        <meter min={0} max={1} low={0.3} high={0.6} optimum={0} value={risk.score} aria-label="Risk, 0 to 1" />
      </p>
      {risk.factors.length === 0 ? (
        <p class="soft">Nothing about this change is known to be risky.</p>
      ) : (
        <ul class="factors">
          {risk.factors.map((factor) => (
            <li key={`${factor.id} ${factor.reason}`}>
              <span class="weight">+{factor.weight.toFixed(2)}</span> {plain(factor.reason)}
            </li>
          ))}
        </ul>
      )}
      {model.kind === 'answered' && <p>{plain(model.summary)}</p>}
      <p class="soft small">By {by}.</p>
    </section>
  );
}

export function PlanCard({ view, plan }: { readonly view: RolloutView; readonly plan: Plan }) {
  const images = imageLines(plan, view.policy);
  const { change } = view.release;
  const sets = [...Object.keys(view.release.env), ...configLines(view.release)];
  return (
    <section class="card" aria-labelledby="plan">
      <h2 id="plan">Plan</h2>
      <p>{plain(planLine(view))}</p>
      <dl class="facts">
        <dt>From</dt>
        <dd>{plan.stableVersion === null ? 'nothing: the first release' : plain(plan.stableVersion)}</dd>
        <dt>To</dt>
        <dd>
          {(images.length > 0 ? images : Object.values(view.release.images)).map((line) => (
            <div key={line}>{plain(line)}</div>
          ))}
        </dd>
        {sets.length > 0 && (
          <>
            <dt>Sets</dt>
            <dd>{sets.map(plain).join(', ')}</dd>
          </>
        )}
        {change.commit !== null && (
          <>
            <dt>Commit</dt>
            <dd>
              <code>{plain(change.commit.slice(0, 12))}</code>{' '}
              {change.author === null ? '' : `by ${plain(change.author)}`}
            </dd>
          </>
        )}
        {change.files !== null && change.files.length > 0 && (
          <>
            <dt>Files</dt>
            <dd>
              <details>
                <summary>
                  {change.files.length}
                  {change.truncated ? ' and more' : ''} changed
                </summary>
                <ul class="files">
                  {change.files.map((file) => (
                    <li key={file.path}>
                      {plain(file.path)}{' '}
                      <span class="soft">
                        +{file.added ?? '?'} −{file.deleted ?? '?'}
                      </span>
                    </li>
                  ))}
                </ul>
              </details>
            </dd>
          </>
        )}
        <dt>Needs</dt>
        <dd>
          {plan.peakExtraReplicas} more {plan.peakExtraReplicas === 1 ? 'replica' : 'replicas'} at most
        </dd>
        <dt>Digest</dt>
        <dd>
          <code title={plan.digest}>{shortDigest(plan.digest)}</code>
        </dd>
      </dl>
      {plan.stages.length > 0 && (
        <details>
          <summary>Stages in numbers</summary>
          <div class="scroll" tabIndex={0} role="region" aria-label="Stages in numbers">
            <table class="dense">
              <thead>
                <tr>
                  <th scope="col">stage</th>
                  <th scope="col" class="number">
                    canary
                  </th>
                  <th scope="col" class="number">
                    baseline
                  </th>
                  <th scope="col" class="number">
                    for
                  </th>
                  <th scope="col" class="number">
                    replicas
                  </th>
                </tr>
              </thead>
              <tbody>
                {plan.stages.map((stage) => (
                  <tr key={stage.number}>
                    <th scope="row">{stage.number}</th>
                    <td class="number">{percentText(stage.weights.canary)}</td>
                    <td class="number">{percentText(stage.weights.baseline)}</td>
                    <td class="number">{durationText(stage.durationMs)}</td>
                    <td class="number">{stage.canaryReplicas + stage.baselineReplicas}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      )}
      {plan.warnings.map(({ problem, remedy }) => (
        <p key={problem} class="notice lost">
          {plain(problem)} {plain(remedy)}
        </p>
      ))}
    </section>
  );
}

const VERB_WORDS: Readonly<Record<string, string>> = {
  approve: 'approved',
  reject: 'rejected',
  pause: 'paused',
  resume: 'resumed',
  promote: 'promoted',
  abort: 'aborted',
  'break-glass': 'broke the glass',
};

export function Decisions({ decisions }: { readonly decisions: readonly Decision[] }) {
  return (
    <section class="card" aria-labelledby="decisions">
      <h2 id="decisions">
        Who decided what <span class="count">{decisions.length}</span>
      </h2>
      {decisions.length === 0 && <p class="soft">Nobody has decided anything yet.</p>}
      <ul class="decisions">
        {[...decisions].reverse().map((decision) => (
          <li key={decision.id} class={decision.verb}>
            <p>
              <b>{plain(decision.actor.name ?? decision.actor.subject)}</b>{' '}
              {VERB_WORDS[decision.verb] ?? plain(decision.verb)}
              {decision.gate !== null && ` “${plain(decision.gate)}”`}{' '}
              <Moment iso={decision.at} text={clockText(Date.parse(decision.at))} />
            </p>
            {decision.reason !== null && <blockquote>{plain(decision.reason)}</blockquote>}
            <p class="soft small">
              {plain(decision.actor.subject)}
              {decision.actor.via === undefined ? '' : ` by ${plain(decision.actor.via)}`},{' '}
              {decision.actor.verified ? 'signed by the server' : 'not verified'}
              {decision.planDigest !== null && (
                <>
                  {', on '}
                  <code title={decision.planDigest}>{shortDigest(decision.planDigest)}</code>
                </>
              )}
            </p>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function Timeline({ entries }: { readonly entries: readonly TimelineEntry[] }) {
  return (
    <section class="card" aria-labelledby="timeline">
      <h2 id="timeline">Timeline</h2>
      {entries.length === 0 && <p class="soft">Nothing has happened yet.</p>}
      <ol class="timeline">
        {entries.map((entry, i) => (
          // The same thing may happen twice in the same moment; entries are only ever added at the end.
          <li key={i} class={entry.tone}>
            <Moment iso={entry.at} text={clockText(Date.parse(entry.at))} />
            <span>
              {entry.tone === 'bad' && <b class="unseen">Problem: </b>}
              {plain(entry.text)}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

export function Links({ run }: { readonly run: ReadonlySignal<RunDocument> }) {
  const { links, summary } = run.value;
  const trail = `/runs/${encodeURIComponent(summary.rolloutId)}/trail`;
  const web = safeLink(links.temporalWeb);
  return (
    <section class="card links" aria-labelledby="links">
      <h2 id="links">Elsewhere</h2>
      <ul>
        {web !== null && (
          <li>
            <a href={web} rel="noreferrer">
              Workflow in Temporal Web
            </a>
          </li>
        )}
        {links.record === null ? (
          <li class="soft">Decision record: when it is over</li>
        ) : (
          <li>
            <a href={links.record} download={`slipway-${summary.rolloutId}-record.json`}>
              Decision record (JSON)
            </a>
          </li>
        )}
        <li>
          <a href={trail} download={`slipway-${summary.rolloutId}-trail.json`}>
            Trail (JSON)
          </a>
        </li>
      </ul>
    </section>
  );
}

/** An address of the web; anything else (`javascript:`) is no link. */
function safeLink(address: string): string | null {
  return /^https?:\/\//.test(address) ? address : null;
}

/** `started 12:03, 4 min 05 s ago`. */
export function Since({ view }: { readonly view: RolloutView }) {
  const startedMs = Date.parse(view.startedAt);
  const text = momentText(startedMs, now.peek());
  const span =
    view.endedAt === null
      ? `${spanText(now.value - startedMs)} ago`
      : `took ${spanText(Date.parse(view.endedAt) - startedMs)}`;
  return (
    <>
      started <Moment iso={view.startedAt} text={text} />, {span}
    </>
  );
}
