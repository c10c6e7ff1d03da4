import { canonicalJson, digestOf } from '../../domain/canonical.js';
import { effectOf } from '../../domain/canary/effects.js';
import type { Effect } from '../../domain/canary/effects.js';
import { obstaclesOf } from '../../domain/canary/decidable.js';
import type { Obstacle } from '../../domain/canary/decidable.js';
import { judge } from '../../domain/canary/judge.js';
import { replay } from '../../domain/canary/replay.js';
import type { Recording } from '../../domain/canary/replay.js';
import type { AnalysisPolicy, JudgeInput, MetricFinding, Verdict } from '../../domain/canary/types.js';
import { tippedBy, whatWouldChange } from '../../domain/canary/what-would-change.js';

/** What is to be judged: samples, until when they go, and what was said of them at the time. */
export interface Case {
  /** `stage-2`, or the id of a scenario; what people call it. */
  readonly name: string;
  /** The rollout, where it is known: service, environment, release. */
  readonly about: string | null;
  readonly recording: Recording;
  /** ms since the epoch; nothing later is known. */
  readonly untilMs: number;
  /** Judged as of `untilMs`, as evidence was; else looked at over time from its start, as a live watch. */
  readonly asOfEnd: boolean;
  readonly recorded: Verdict | null;
}

/** How a verdict of today compares with the recorded one. */
export type Reproduction =
  | { readonly kind: 'same-bytes'; readonly text: string }
  /** Of the same judge version, and yet not the same: something was changed. */
  | { readonly kind: 'differs'; readonly text: string }
  | { readonly kind: 'other-version'; readonly sameVerdict: boolean; readonly text: string };

/** A verdict with all that a report says of it. */
export interface Opined {
  readonly verdict: Verdict;
  /** What it was given, as of the instant of the verdict. */
  readonly input: JudgeInput;
  readonly findings: readonly ExplainedFinding[];
  readonly wouldChange: readonly string[];
  /** Why the policy could not have decided at all. */
  readonly obstacles: readonly Obstacle[];
}

export interface ExplainedFinding {
  readonly finding: MetricFinding;
  /** With its 95 % interval; `null` where it can't be had. */
  readonly interval: Effect | null;
  readonly tipped: boolean;
}

/** A case, judged again. */
export interface Judgement {
  readonly subject: Case;
  readonly said: Opined;
  readonly reproduction: Reproduction | null;
  /** Under another policy. */
  readonly candidate: Opined | null;
}

/** Another way to judge, made for what is known of the recorded one. */
export type Candidate = (recorded: AnalysisPolicy) => AnalysisPolicy;

/**
 * Judges a case again, and under the candidate policy if there is one.
 *
 * @throws RangeError where samples or policy make no sense; the message says what.
 */
export function judgeCase(subject: Case, candidate: Candidate | null): Judgement {
  const verdict = verdictOf(subject);
  return {
    subject,
    said: opined(subject.recording, verdict),
    reproduction: subject.recorded === null ? null : reproductionOf(subject.recorded, verdict),
    candidate: candidate === null ? null : candidateOf(subject, candidate),
  };
}

/** The verdict on a case under the policy that it was recorded with. */
export function verdictOf({ recording, untilMs, asOfEnd }: Case): Verdict {
  return asOfEnd ? judge({ ...recording, atMs: untilMs }) : replay(recording, untilMs);
}

/** The recording under another policy, looked at from its start as a live watch would have. */
export function underPolicy({ recording }: Case, candidate: Candidate): Recording {
  return { ...recording, policy: candidate(recording.policy) };
}

function candidateOf(subject: Case, candidate: Candidate): Opined {
  const recording = underPolicy(subject, candidate);
  return opined(recording, replay(recording, subject.untilMs));
}

function opined(recording: Recording, verdict: Verdict): Opined {
  const input: JudgeInput = { ...recording, atMs: verdict.atMs };
  const tipped = new Set(tippedBy(verdict));
  return {
    verdict,
    input,
    findings: verdict.findings.map((finding) => ({
      finding,
      interval: effectOf(finding, input),
      tipped: tipped.has(finding),
    })),
    wouldChange: whatWouldChange(verdict, input),
    obstacles: verdict.kind === 'HOLD' && verdict.hold !== 'no-data' ? obstaclesOf(input) : [],
  };
}

function reproductionOf(recorded: Verdict, now: Verdict): Reproduction {
  if (recorded.judgeVersion !== now.judgeVersion) {
    const sameVerdict = recorded.kind === now.kind && recorded.hold === now.hold;
    const versions = `Recorded by version ${recorded.judgeVersion} of the judge, judged again by ${now.judgeVersion}`;
    const text = sameVerdict
      ? `${versions}: the verdict is the same${differences(recorded, now)}.`
      : `${versions}: it was ${kindText(recorded)} and is now ${kindText(now)}.`;
    return { kind: 'other-version', sameVerdict, text };
  }
  if (canonicalJson(recorded) === canonicalJson(now)) {
    return { kind: 'same-bytes', text: `Judges to the same bytes as recorded (judge version ${now.judgeVersion}).` };
  }
  const why =
    recorded.inputDigest === now.inputDigest
      ? `it was ${kindText(recorded)} and is ${kindText(now)}${differences(recorded, now)}: the recorded verdict was changed`
      : `it names ${recorded.inputDigest} as what was judged, and this is ${now.inputDigest}: the samples are others`;
  return {
    kind: 'differs',
    text: `NOT as recorded, though the judge version is the same (${now.judgeVersion}): ${why}.`,
  };
}

function differences(recorded: Verdict, now: Verdict): string {
  const same = (a: unknown, b: unknown) => digestOf(a ?? null) === digestOf(b ?? null);
  const most = Math.max(recorded.findings.length, now.findings.length);
  let others = 0;
  for (let i = 0; i < most; i++) if (!same(recorded.findings[i], now.findings[i])) others++;
  return others === 0 ? '' : `; ${others} of ${most} findings have other numbers`;
}

/** `HOLD (inconclusive)`. */
export function kindText({ kind, hold }: Pick<Verdict, 'kind' | 'hold'>): string {
  return hold === null ? kind : `${kind} (${hold})`;
}
