/** What this person may do now, and the dialog in which it is done. */
import type { ReadonlySignal } from '@preact/signals';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { DecisionBody, Me, Offer, RunDocument } from '../../server/contract.js';
import { planLine } from '../../../domain/details.js';
import { rolloutPath } from '../boot.js';
import type { ShownProblem } from '../boot.js';
import { changesOf, digestOf } from '../changes.js';
import { decide, retry } from './api.js';
import { Command } from './command.js';
import { loginAgainPath, sayNow } from './frame.js';
import { plain, shortDigest } from './words.js';

const WORDS: Readonly<Record<string, { readonly button: string; readonly tone: string }>> = {
  approve: { button: 'Approve', tone: 'primary' },
  reject: { button: 'Reject', tone: 'danger' },
  resume: { button: 'Resume', tone: 'primary' },
  pause: { button: 'Pause', tone: '' },
  promote: { button: 'Promote', tone: '' },
  abort: { button: 'Abort', tone: 'danger' },
  retry: { button: 'Try again', tone: '' },
  'break-glass': { button: 'Break glass', tone: 'danger' },
};
const ORDER = Object.keys(WORDS);

/** Verbs that a gate is decided by. */
const OF_GATES: readonly string[] = ['approve', 'reject', 'break-glass'];

function wordsOf(verb: string): { readonly button: string; readonly tone: string } {
  return WORDS[verb] ?? { button: plain(verb), tone: '' };
}

/**
 * A button for each thing that may be done. One that is no longer offered keeps its place, disabled, so that no other
 * button comes to be under the finger.
 */
export function Actions({ run, me }: { readonly run: ReadonlySignal<RunDocument>; readonly me: Me }) {
  const known = useRef(new Map<string, Offer>());
  const [open, setOpen] = useState<string | null>(null);
  const offered = new Map<string, Offer>(run.value.offers.map((offer) => [offer.verb, offer]));
  for (const [verb, offer] of offered) known.current.set(verb, offer);
  const shown = [...known.current.values()]
    .map((offer) => offered.get(offer.verb) ?? { ...offer, allowed: false, why: 'not possible any more' })
    .sort((one, other) => ORDER.indexOf(one.verb) - ORDER.indexOf(other.verb));
  if (shown.length === 0) return null;
  const openOffer = shown.find((offer) => offer.verb === open);
  return (
    <section class="card actions" aria-labelledby="actions">
      <h2 id="actions">What you can do</h2>
      <ul>
        {shown.map((offer) => (
          <Action key={offer.verb} offer={offer} onOpen={() => setOpen(offer.verb)} />
        ))}
      </ul>
      {openOffer !== undefined && (
        <DecisionDialog key={openOffer.verb} offer={openOffer} run={run} me={me} onClose={() => setOpen(null)} />
      )}
    </section>
  );
}

function Action({ offer, onOpen }: { readonly offer: Offer; readonly onOpen: () => void }) {
  const id = useId();
  const { button, tone } = wordsOf(offer.verb);
  // Not `disabled`: the focus would be lost when it becomes so under somebody's hand.
  return (
    <li class={offer.allowed ? '' : 'not-allowed'}>
      <button
        type="button"
        class={`button ${tone}`}
        aria-disabled={!offer.allowed}
        aria-describedby={id}
        onClick={() => offer.allowed && onOpen()}
      >
        {button}
      </button>
      <span id={id} class="soft">
        {plain(offer.allowed ? offer.does : (offer.why ?? 'not possible now'))}
      </span>
    </li>
  );
}

type Progress =
  | { readonly kind: 'asking' }
  | { readonly kind: 'sending' }
  | { readonly kind: 'done'; readonly text: string; readonly counts: boolean; readonly next: string | null }
  | { readonly kind: 'refused'; readonly problem: ShownProblem }
  /** It may have arrived. Sent again it is the same decision. */
  | { readonly kind: 'unknown'; readonly text: string };

function DecisionDialog(props: {
  readonly offer: Offer;
  readonly run: ReadonlySignal<RunDocument>;
  readonly me: Me;
  readonly onClose: () => void;
}) {
  const { offer, run, me, onClose } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  // Made once: however often it is sent, it is one decision, on what was shown when the dialog was opened.
  const [{ id, shown }] = useState(() => ({ id: decisionId(), shown: run.peek() }));
  const [progress, setProgress] = useState<Progress>({ kind: 'asking' });
  const [reason, setReason] = useState('');
  const [full, setFull] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);

  const { view } = shown;
  const changes = changesOf(view, run.value.view);
  const stopped = progress.kind === 'asking' && !offer.allowed ? (offer.why ?? 'not possible any more') : null;
  const { button, tone } = wordsOf(offer.verb);
  const mayForce = offer.needsReason && reason.trim() === '';
  const blocked = progress.kind === 'sending' || changes.length > 0 || stopped !== null || mayForce;

  const send = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (blocked) return;
    setProgress({ kind: 'sending' });
    setProgress(await sent({ offer, shown, id, reason: reason.trim(), full, csrf: me.csrf }));
  };

  return (
    <dialog
      ref={dialog}
      aria-labelledby={title}
      onClose={onClose}
      onCancel={(event) => {
        // Escape must not throw away the word on a decision that is on its way.
        if (progress.kind === 'sending') event.preventDefault();
      }}
    >
      <form onSubmit={(event) => void send(event)}>
        <h2 id={title}>
          {button}: {plain(view.releaseName)} in {plain(view.lane.environment)}
        </h2>
        {progress.kind === 'done' ? (
          <Done progress={progress} onClose={() => dialog.current?.close()} />
        ) : (
          <>
            <p class="does">{plain(offer.does)}.</p>
            {OF_GATES.includes(offer.verb) && <WhatIsDecided shown={shown} />}
            {offer.verb === 'promote' && (view.plan?.stages.length ?? 0) > 1 && (
              <label class="check">
                <input type="checkbox" checked={full} onChange={(event) => setFull(event.currentTarget.checked)} />
                All stages that are left, not only this one
              </label>
            )}
            {offer.verb !== 'retry' && (
              <label>
                Reason {offer.needsReason ? '' : <span class="soft">(kept in the record; may stay empty)</span>}
                <textarea
                  rows={2}
                  maxLength={1000}
                  required={offer.needsReason}
                  value={reason}
                  onInput={(event) => setReason(event.currentTarget.value)}
                />
              </label>
            )}
            {/* There, empty, before it has anything to say. */}
            <div class="dialog-news" role="alert">
              {changes.length > 0 && (
                <div class="notice lost">
                  <b>This has changed while you looked. Close, and look again:</b>
                  <ul>
                    {changes.map((change) => (
                      <li key={change}>{plain(change)}</li>
                    ))}
                  </ul>
                </div>
              )}
              {changes.length === 0 && stopped !== null && <p class="notice lost">{plain(stopped)}</p>}
              {progress.kind === 'refused' && (
                <p class="notice refused">
                  <b>{plain(progress.problem.title)}.</b> {plain(progress.problem.detail)}{' '}
                  {progress.problem.status === 401 ? (
                    <a href={loginAgainPath()}>Log in again</a>
                  ) : (
                    plain(progress.problem.next)
                  )}
                </p>
              )}
              {progress.kind === 'unknown' && (
                <p class="notice lost">
                  <b>No answer ({plain(progress.text)}).</b> It may have arrived. Send it again: it is the same
                  decision, and counts once.
                </p>
              )}
            </div>
            <Command text={withReason(offer.command, reason)} label="The same on the command line" />
            <p class="buttons">
              <button type="submit" class={`button ${tone === '' ? 'primary' : tone}`} aria-disabled={blocked}>
                {progress.kind === 'sending' ? 'Sent, waiting …' : progress.kind === 'unknown' ? 'Send again' : button}
              </button>
              <button
                type="button"
                class="button"
                disabled={progress.kind === 'sending'}
                onClick={() => dialog.current?.close()}
              >
                Cancel
              </button>
            </p>
          </>
        )}
      </form>
    </dialog>
  );
}

/** The few lines that matter for consent, and what it is bound to. */
function WhatIsDecided({ shown }: { readonly shown: RunDocument }) {
  const { view } = shown;
  const digest = digestOf(view);
  const last = view.verdicts.at(-1);
  return (
    <dl class="facts">
      {view.assessment !== null && (
        <>
          <dt>Risk</dt>
          <dd>
            {view.assessment.risk.score.toFixed(2)} ({view.assessment.risk.level}):{' '}
            {view.assessment.risk.factors
              .slice(0, 2)
              .map(({ reason }) => plain(reason))
              .join('; ') || 'no reason found'}
          </dd>
        </>
      )}
      <dt>Plan</dt>
      <dd>{plain(planLine(view))}</dd>
      {last !== undefined && (
        <>
          <dt>Verdict so far</dt>
          <dd>
            {last.verdict.kind}: {plain(last.verdict.summary)}
          </dd>
        </>
      )}
      {view.approvals !== null && (
        <>
          <dt>Gate</dt>
          <dd>
            {plain(view.approvals.gate)}, {view.approvals.approvedBy.length} of {view.approvals.quorum} so far
          </dd>
        </>
      )}
      {digest !== null && (
        <>
          <dt>Bound to</dt>
          <dd>
            <code title={digest}>{shortDigest(digest)}</code>
          </dd>
        </>
      )}
    </dl>
  );
}

function Done({
  progress,
  onClose,
}: {
  readonly progress: Extract<Progress, { readonly kind: 'done' }>;
  readonly onClose: () => void;
}) {
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    sayNow(progress.text);
    close.current?.focus();
  }, []);
  return (
    <>
      <p class={`notice ${progress.counts ? 'done' : 'lost'}`}>
        <b>{progress.counts ? 'It counts.' : 'Recorded; no worker is up, so it counts as soon as one is.'}</b>{' '}
        {plain(progress.text)}
      </p>
      <p class="buttons">
        {progress.next !== null && (
          <a class="button" href={rolloutPath(progress.next)}>
            To the new rollout
          </a>
        )}
        <button ref={close} type="button" class="button primary" onClick={onClose}>
          Close
        </button>
      </p>
    </>
  );
}

async function sent(options: {
  readonly offer: Offer;
  readonly shown: RunDocument;
  readonly id: string;
  readonly reason: string;
  readonly full: boolean;
  readonly csrf: string | null;
}): Promise<Progress> {
  const { offer, shown, id, reason, full, csrf } = options;
  const { rolloutId } = shown.summary;
  if (offer.verb === 'retry') {
    const result = await retry(rolloutId, id, csrf);
    if (result.kind === 'found')
      return {
        kind: 'done',
        counts: true,
        text: 'A new rollout of the same release is asked for.',
        next: result.value.run_id,
      };
    return result.kind === 'problem'
      ? { kind: 'refused', problem: result.problem }
      : { kind: 'unknown', text: result.text };
  }
  const gate = shown.view.approvals?.gate ?? shown.view.wait?.gate ?? null;
  const digest = digestOf(shown.view);
  const body: DecisionBody = {
    id,
    verb: offer.verb,
    ...(OF_GATES.includes(offer.verb) && gate !== null ? { gate } : {}),
    ...(OF_GATES.includes(offer.verb) && digest !== null ? { planDigest: digest } : {}),
    ...(reason === '' ? {} : { reason }),
    ...(offer.verb === 'promote' && full ? { full } : {}),
  };
  const result = await decide(rolloutId, body, csrf);
  if (result.kind === 'found')
    return { kind: 'done', counts: result.value.kind !== 'recorded', text: result.value.text, next: null };
  return result.kind === 'problem'
    ? { kind: 'refused', problem: result.problem }
    : { kind: 'unknown', text: result.text };
}

/** `crypto.randomUUID` is there on secure origins only; a server in a private network may not be one. */
function decisionId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** The command with what was typed as its reason, quoted for a shell. */
function withReason(command: string, reason: string): string {
  if (reason.trim() === '') return command;
  const quoted = `'${reason.trim().replaceAll("'", `'\\''`)}'`;
  return `${command.replace(/ --reason (?:"[^"]*"|'[^']*'|\S+)/, '')} --reason ${quoted}`;
}
