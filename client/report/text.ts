import type { MetricFinding } from '../../domain/canary/types.js';
import { isTested } from '../../domain/canary/effects.js';
import { shortDigest } from '../../domain/canonical.js';
import type { VerdictKind } from '../../domain/canary/types.js';
import { plain } from '../cli/render.js';
import type { Paint } from '../cli/render.js';
import type { ExplainedFinding, Judgement, Opined } from '../judging/judgement.js';
import {
  armText,
  effectText,
  intervalText,
  metricName,
  momentText,
  probabilityText,
  sizesText,
  standOutText,
  statisticText,
  testName,
  thresholdText,
  tippedText,
  verdictText,
  whenText,
} from './words.js';

const TONES = { PROMOTE: 'green', HOLD: 'yellow', ROLLBACK: 'red' } as const;
const WIDTH = 100;

/** The report of `slipway judge` for the terminal, line by line. */
export function judgementLines(judgement: Judgement, paint: Paint): readonly string[] {
  const { subject, said, reproduction, candidate } = judgement;
  const lines = [...verdictLines(said, paint)];
  lines.push(paint('gray', `  ${plain(subject.name)}${subject.about === null ? '' : ` of ${plain(subject.about)}`}`));
  lines.push('', ...said.findings.flatMap((finding) => findingLines(finding, paint)));
  const worse = standOutText(said);
  if (worse !== null) lines.push(...wrapped(plain(worse), ''), '');
  if (said.wouldChange.length > 0) {
    lines.push(paint('bold', 'What would change it'));
    lines.push(...said.wouldChange.flatMap((sentence) => bullet(sentence)), '');
  }
  if (said.obstacles.length > 0) lines.push(...obstacleLines(said, paint), '');
  if (reproduction !== null) {
    const tone = reproduction.kind === 'differs' ? 'red' : reproduction.kind === 'same-bytes' ? 'green' : 'yellow';
    lines.push(...wrapped(plain(reproduction.text), '').map((line) => paint(tone, line)));
  }
  lines.push(
    paint(
      'gray',
      `judge ${said.verdict.judge} ${said.verdict.judgeVersion}, input ${shortDigest(said.verdict.inputDigest)}`,
    ),
  );
  if (candidate !== null) lines.push('', ...candidateLines(judgement, candidate, paint));
  return lines;
}

function verdictLines(said: Opined, paint: Paint): readonly string[] {
  const { verdict } = said;
  const head = paint(TONES[verdict.kind], verdictText(verdict));
  return [`${paint('bold', head)}, ${whenText(said)}`, ...wrapped(plain(verdict.summary), '  ')];
}

function findingLines({ finding, interval, tipped }: ExplainedFinding, paint: Paint): readonly string[] {
  const mark = tipped ? `  ${paint('bold', `← ${tippedText(finding)}`)}` : '';
  const head = `${paint('bold', plain(metricName(finding)))}  ${word(finding.verdict, paint)}${mark}`;
  const { canary, comparison } = finding;
  if (canary === null && finding.p === null) return [head, ...wrapped(plain(finding.why), '  '), ''];
  const why = wrapped(plain(finding.why), '  ').map((line) => paint('gray', line));
  if (!isTested(finding)) return [head, `  ${armsText(finding)}`, ...why, ''];
  const statistic = statisticText(finding);
  const alpha = finding.alpha === null ? '' : `; speaks for ROLLBACK below p = ${probabilityText(finding.alpha)}`;
  const test = `${testName(finding)}${statistic === null ? '' : `, ${statistic}`}, p = ${probabilityText(finding.p)}${alpha}`;
  return [
    head,
    `  canary ${armText(finding, canary)}, comparison ${armText(finding, comparison)}  (n = ${sizesText(finding)})`,
    `  ${finding.p === null ? testName(finding) : test}`,
    `  effect ${effectText(finding, interval)}${interval === null ? '' : `, 95 % interval ${intervalText(interval)}`}; limit ${thresholdText(finding, interval)}`,
    ...why,
    '',
  ];
}

/** `canary 4.2, comparison 3.9`; the comparison only where it was looked at. */
function armsText(finding: MetricFinding): string {
  const { canary, comparison } = finding;
  return `canary ${armText(finding, canary)}${comparison === null ? '' : `, comparison ${armText(finding, comparison)}`}`;
}

function obstacleLines(said: Opined, paint: Paint): readonly string[] {
  return [
    paint('yellow', 'Under this policy the stage could not have been decided'),
    ...said.obstacles.flatMap(({ field, value, problem, remedy }) =>
      bullet(`${field} is ${value}: ${problem}; ${remedy}.`),
    ),
  ];
}

function candidateLines(judgement: Judgement, candidate: Opined, paint: Paint): readonly string[] {
  return [
    paint('bold', `Under the other policy (judge ${candidate.verdict.judge}):`),
    ...verdictLines(candidate, paint),
    ...wrapped(changeText(judgement.said, candidate), '  '),
    '',
    ...candidate.findings.flatMap((finding) => findingLines(finding, paint)),
    ...(candidate.obstacles.length > 0 ? obstacleLines(candidate, paint) : []),
    ...candidate.wouldChange.flatMap((sentence) => bullet(sentence)),
  ];
}

/** What another policy makes of a case, in one sentence. */
export function changeText(before: Opined, after: Opined): string {
  const [a, b] = [before.verdict, after.verdict];
  const moved = b.atMs - a.atMs;
  const when = moved === 0 ? 'at the same time' : `${momentText(Math.abs(moved))} ${moved < 0 ? 'earlier' : 'later'}`;
  if (a.kind === b.kind && a.hold === b.hold) return `The verdict stays ${verdictText(b)}, ${when}.`;
  return `The verdict changes from ${verdictText(a)} to ${verdictText(b)}, ${when}.`;
}

function word(kind: VerdictKind, paint: Paint): string {
  return paint(TONES[kind], kind);
}

function bullet(sentence: string): readonly string[] {
  return wrapped(plain(sentence), '    ').map((line, i) => (i === 0 ? `  - ${line.slice(4)}` : line));
}

function wrapped(text: string, indent: string): readonly string[] {
  const lines: string[] = [];
  let line = indent;
  for (const part of text.split(' ')) {
    if (line.length + part.length >= WIDTH && line.trim() !== '') {
      lines.push(line.trimEnd());
      line = indent;
    }
    line += `${part} `;
  }
  return [...lines, line.trimEnd()];
}
