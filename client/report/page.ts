import { isTested } from '../../domain/canary/effects.js';
import { createHash } from 'node:crypto';
import { furtherMetrics } from '../../domain/canary/defaults.js';
import { looksOf } from '../../domain/canary/looks.js';
import type { LookSeen } from '../../domain/canary/looks.js';
import { noiseRatios, withNoise } from '../../domain/canary/noise-floor.js';
import { portraitOf } from '../../domain/canary/portrait.js';
import type { ArmMoment, Moment, Portrait } from '../../domain/canary/portrait.js';
import type { AnalysisPolicy, MetricFinding, MetricPolicy } from '../../domain/canary/types.js';
import { amount, count, durationText, percent, points, seconds, times } from '../../domain/words.js';
import type { ExplainedFinding, Judgement, Opined } from '../judging/judgement.js';
import { bucketName, bucketsChart, overBudgetChart, overLooksChart, overTimeChart, spreadChart } from './charts.js';
import type { TimeFrame } from './charts.js';
import { STYLE } from './style.js';
import { element, escaped } from './svg.js';
import { changeText } from './text.js';
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

/**
 * One page that tells of judgements: no script, no request to anyone, and a policy that forbids both. It can be mailed,
 * kept as an artifact of a build, or opened in ten years.
 */
export function reportPage(judgements: readonly Judgement[], missing: readonly string[]): string {
  const hash = createHash('sha256').update(STYLE).digest('base64');
  const csp = `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`;
  const [first] = judgements;
  const title = first === undefined ? 'slipway judge' : `${verdictText(first.said.verdict)}: ${subjectOf(first)}`;
  const bodies = judgements.map((judgement, i) => judgementSection(judgement, `j${i}`));
  const gaps = missing.length === 0 ? '' : section('Not judged', list(missing));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escaped(csp)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${bodies.join('\n')}
${gaps}
</main>
</body>
</html>
`;
}

function subjectOf({ subject }: Judgement): string {
  return subject.about === null ? subject.name : `${subject.name} of ${subject.about}`;
}

function section(title: string, inside: string): string {
  return element('section', {}, element('h2', {}, escaped(title)) + inside);
}

function list(sentences: readonly string[]): string {
  return element('ul', {}, sentences.map((sentence) => element('li', {}, escaped(joined(sentence)))).join(''));
}

function paragraph(text: string, className?: string): string {
  return element('p', { class: className }, escaped(joined(text)));
}

/** Numbers stay with their units, and `3e-4` in one piece, where a line ends. */
function joined(text: string): string {
  return text.replace(/(?<=\d) (?=%|(?:points|ms|s|min|h|times)\b)/g, '\u00A0').replace(/(?<=\de-)(?=\d)/g, '\u2060');
}

function judgementSection(judgement: Judgement, id: string): string {
  const { said, reproduction, candidate } = judgement;
  const { verdict } = said;
  const parts = [
    header(judgement),
    section('What each metric says', findingCards(said)),
    said.wouldChange.length === 0 ? '' : section('What would change it', list(said.wouldChange)),
    obstacles(said),
    plots(judgement, id),
    candidate === null
      ? ''
      : section(
          'Under the other policy',
          paragraph(changeText(said, candidate)) +
            paragraph(candidate.verdict.summary) +
            findingCards(candidate) +
            obstacles(candidate),
        ),
    element(
      'footer',
      { class: 'meta' },
      paragraph(
        `Judge ${verdict.judge} ${verdict.judgeVersion}. Input ${verdict.inputDigest}.${reproduction === null ? '' : ` ${reproduction.text}`}`,
      ),
    ),
  ];
  return element('article', { id }, parts.join('\n'));
}

function header(judgement: Judgement): string {
  const { said } = judgement;
  const { verdict } = said;
  const head = element(
    'h1',
    {},
    element('span', { class: 'word' }, escaped(verdictText(verdict))) + escaped(`, ${whenText(said)}`),
  );
  const inside = paragraph(subjectOf(judgement), 'meta') + head + paragraph(verdict.summary);
  return element('header', { class: `lead ${verdict.kind}` }, inside);
}

function obstacles({ obstacles }: Opined): string {
  if (obstacles.length === 0) return '';
  const sentences = obstacles.map(
    ({ field, value, problem, remedy }) => `${field} is ${value}: ${problem}; ${remedy}.`,
  );
  return section('Under this policy the stage could not have been decided', list(sentences));
}

function findingCards(said: Opined): string {
  const { findings } = said;
  if (findings.length === 0) return paragraph('No look was taken yet, and no limit is crossed.', 'soft');
  const worse = standOutText(said);
  const cards = element('div', { class: 'findings' }, findings.map(findingCard).join(''));
  return worse === null ? cards : cards + paragraph(worse);
}

function findingCard({ finding, interval, tipped }: ExplainedFinding): string {
  const { canary, comparison, p, alpha } = finding;
  const head =
    element(
      'span',
      { class: 'word' },
      escaped(tipped ? `${finding.verdict}, ${tippedText(finding)}` : finding.verdict),
    ) + element('h3', {}, escaped(metricName(finding)));
  const rows: [string, string | null][] =
    canary === null && p === null
      ? []
      : !isTested(finding)
        ? [
            ['canary', armText(finding, canary)],
            ['comparison', comparison === null ? null : armText(finding, comparison)],
          ]
        : [
            ['canary', armText(finding, canary)],
            ['comparison', armText(finding, comparison)],
            ['n', sizesText(finding)],
            ['test', [testName(finding), statisticText(finding)].filter((text) => text !== null).join(', ')],
            [
              'p',
              p === null
                ? null
                : `${probabilityText(p)}${alpha === null ? '' : `, speaks for ROLLBACK below ${probabilityText(alpha)}`}`,
            ],
            ['effect', effectText(finding, interval)],
            ['95 % interval', interval === null ? null : intervalText(interval)],
            ['limit', thresholdText(finding, interval)],
          ];
  const terms = rows.flatMap(([name, text]) =>
    text === null ? [] : [element('dt', {}, escaped(name)) + element('dd', {}, escaped(text))],
  );
  const inside = head + (terms.length === 0 ? '' : element('dl', {}, terms.join(''))) + paragraph(finding.why, 'soft');
  return element('div', { class: `card ${finding.verdict}${tipped ? ' tipped' : ''}` }, inside);
}

function plots(judgement: Judgement, id: string): string {
  const { subject, said } = judgement;
  const { recording, untilMs } = subject;
  if (untilMs <= recording.startMs) return '';
  const portrait = portraitOf(recording, untilMs);
  const looks = looksOf(recording, untilMs, [said.verdict.atMs]);
  const frame: TimeFrame = {
    startMs: recording.startMs,
    untilMs,
    warmUpMs: recording.policy.warmUpMs,
    looks,
    decided: { atMs: said.verdict.atMs, kind: said.verdict.kind },
  };
  const figures = [
    errorsOverTime(portrait, frame, id),
    latencyOverTime(portrait, frame, id),
    errorEffects(looks, recording.policy, frame, id),
    latencyEffects(looks, recording.policy, frame, id),
    errorSpread(portrait, frame, id),
    latencySpread(portrait, frame, id),
    latencyBuckets(portrait, id),
    ...furtherMetrics(recording.policy).flatMap((metric, i) =>
      metricFigures(metric, portrait, looks, frame, `${id}-m${i}`, recording.policy),
    ),
    looksFigure(looks, frame, id),
  ].filter((figure) => figure !== '');
  const body = legend(recording.comparison !== null) + element('div', { class: 'plots' }, figures.join('\n'));
  const after =
    said.verdict.atMs < untilMs
      ? paragraph('What comes after the verdict was not looked at when it was live.', 'soft')
      : '';
  return section('Over time', after + body);
}

function legend(compared: boolean): string {
  const swatch = (inside: string) => element('svg', { viewBox: '0 0 26 12', 'aria-hidden': 'true' }, inside);
  const row = (symbol: string, text: string) => element('li', {}, swatch(symbol) + element('span', {}, escaped(text)));
  const curve = (arm: string) => element('path', { d: 'M1 6L25 6', class: `curve ${arm}` });
  return element(
    'ul',
    { class: 'legend' },
    row(curve('canary'), 'canary') +
      (compared ? row(curve('comparison'), 'comparison') : '') +
      row(element('rect', { x: 4, y: 0, width: 18, height: 12, class: 'warmup' }), 'warm-up, not judged') +
      row(element('circle', { cx: 13, cy: 6, r: 2.6, class: 'look HOLD' }), 'look: HOLD') +
      row(element('path', { d: 'M10 3L16 9M16 3L10 9', class: 'look ROLLBACK' }), 'look: ROLLBACK') +
      row(element('path', { d: 'M13 2.4L16.6 9L9.4 9Z', class: 'look PROMOTE' }), 'look: PROMOTE'),
  );
}

function figure(title: string, chart: string, rest = ''): string {
  return element('figure', {}, element('figcaption', {}, escaped(title)) + chart + rest);
}

/** The numbers behind a plot. */
function numbers(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (name: 'th' | 'td', texts: readonly string[]) =>
    element(
      'tr',
      {},
      texts.map((text) => element(name, name === 'th' ? { scope: 'col' } : {}, escaped(text))).join(''),
    );
  const table = element(
    'table',
    {},
    element('thead', {}, cells('th', head)) + element('tbody', {}, rows.map((row) => cells('td', row)).join('')),
  );
  return element(
    'details',
    {},
    element('summary', {}, 'The numbers') + element('div', { class: 'scroll', tabindex: 0 }, table),
  );
}

function momentRows(
  moments: readonly Moment[],
  frame: TimeFrame,
  show: (arm: ArmMoment) => string,
): readonly (readonly string[])[] {
  return moments.map(({ toMs, canary, comparison }) => [
    momentText(toMs - frame.startMs),
    show(canary),
    count(canary.requests),
    ...(comparison === null ? [] : [show(comparison), count(comparison.requests)]),
  ]);
}

const MOMENT_HEAD = ['until', 'canary', 'requests', 'comparison', 'requests'] as const;

function headOf({ moments }: Portrait): readonly string[] {
  return moments[0]?.comparison === null ? MOMENT_HEAD.slice(0, 3) : MOMENT_HEAD;
}

function errorsOverTime(portrait: Portrait, frame: TimeFrame, id: string): string {
  const { moments } = portrait;
  if (moments.length === 0)
    return paragraph('No requests were seen on both arms at the same time: there is nothing to plot.', 'soft');
  const value = (arm: ArmMoment) => arm.errorRate;
  const desc = `Share of failed requests over time. ${describe(moments, value, percent)}`;
  const chart = overTimeChart(
    { id: `${id}-errors`, title: 'Error rate over time', desc, moments, value, format: percent, atLeast: 0.001 },
    frame,
  );
  const rows = momentRows(moments, frame, (arm) => (arm.errorRate === null ? 'none' : percent(arm.errorRate)));
  return figure('Error rate over time', chart, numbers(headOf(portrait), rows));
}

function latencyOverTime(portrait: Portrait, frame: TimeFrame, id: string): string {
  const { moments } = portrait;
  const value = (arm: ArmMoment) => arm.p99?.seconds ?? null;
  if (!moments.some(({ canary }) => canary.p99 !== null)) return '';
  const desc = `99th percentile of the latency over time. ${describe(moments, value, seconds)}`;
  const chart = overTimeChart(
    { id: `${id}-p99`, title: 'p99 latency over time', desc, moments, value, format: seconds, atLeast: 0.001 },
    frame,
  );
  const show = ({ p99 }: ArmMoment) =>
    p99 === null ? 'none' : `${p99.saturated ? 'over ' : ''}${seconds(p99.seconds)}`;
  return figure('p99 latency over time', chart, numbers(headOf(portrait), momentRows(moments, frame, show)));
}

/** What a plot shows, in a sentence. */
function describe(
  moments: readonly Moment[],
  value: (arm: ArmMoment) => number | null,
  format: (value: number) => string,
): string {
  const range = (name: string, arms: readonly (ArmMoment | null)[]) => {
    const seen = arms.flatMap((arm) => (arm === null ? [] : [value(arm)])).filter((one) => one !== null);
    return seen.length === 0
      ? `${name}: none`
      : `${name}: ${format(Math.min(...seen))} to ${format(Math.max(...seen))}`;
  };
  return `${range(
    'Canary',
    moments.map(({ canary }) => canary),
  )}. ${range(
    'Comparison',
    moments.map(({ comparison }) => comparison),
  )}.`;
}

function errorEffects(looks: readonly LookSeen[], policy: AnalysisPolicy, frame: TimeFrame, id: string): string {
  const seen = looks.map(({ atMs, errors }) => ({ atMs, effect: errors }));
  const limit = policy.judge === 'mann-whitney' ? policy.mannWhitney.maxErrorIncrease : policy.minErrorIncrease;
  return effects(
    'Difference of the error rates at each look, 95 % intervals',
    `${id}-de`,
    seen,
    frame,
    (v) => points(v).replace(' points', ' pt'),
    0,
    [limit],
  );
}

function latencyEffects(looks: readonly LookSeen[], policy: AnalysisPolicy, frame: TimeFrame, id: string): string {
  const seen = looks.map(({ atMs, latency }) => ({ atMs, effect: latency }));
  const limit =
    policy.judge === 'mann-whitney'
      ? policy.mannWhitney.maxLatencyRatio
      : Math.max(policy.minLatencyRatio, noiseRatios(policy).latency);
  return effects('Ratio of the p99 latencies at each look, 95 % intervals', `${id}-dl`, seen, frame, ratioText, 1, [
    limit,
  ]);
}

function effects(
  title: string,
  id: string,
  seen: readonly { readonly atMs: number; readonly effect: LookSeen['errors'] }[],
  frame: TimeFrame,
  format: (value: number) => string,
  alike: number,
  limits: readonly number[],
): string {
  const shown = seen.filter(({ effect }) => effect !== null);
  const last = shown.at(-1)?.effect;
  if (last == null) return '';
  const desc = `At the last look ${format(last.value)}, 95 % interval ${format(last.lower)} to ${last.upper === null ? 'any' : format(last.upper)}${limits.length === 0 ? '' : `; the limit is ${limits.map(format).join(' or ')}`}.`;
  const chart = overLooksChart({ id, title, desc, points: seen, format, alike, limits }, frame);
  const rows = shown.map(({ atMs, effect }) => [
    momentText(atMs - frame.startMs),
    format(effect!.value),
    format(effect!.lower),
    effect!.upper === null ? 'any' : format(effect!.upper),
  ]);
  return figure(title, chart, numbers(['look at', 'effect', 'from', 'to'], rows));
}

/** Of a further metric what error rate and p99 have: over time, at each look, and how its blocks are spread. */
function metricFigures(
  metric: MetricPolicy,
  portrait: Portrait,
  looks: readonly LookSeen[],
  frame: TimeFrame,
  id: string,
  policy: AnalysisPolicy,
): readonly string[] {
  const { name, tolerance } = metric;
  const { moments } = portrait;
  const value = (arm: ArmMoment) => arm.metrics.get(name) ?? null;
  const seen = moments
    .flatMap(({ canary, comparison }) => [value(canary), comparison === null ? null : value(comparison)])
    .filter((one) => one !== null);
  if (seen.length === 0) return [paragraph(`Metric ${name}: no values, so that there is nothing to plot.`, 'soft')];
  const said = metric.critical ? name : `${name} (advisory)`;
  const title = `${said} over time`;
  const desc = `Mean of ${name} over time. ${describe(moments, value, amount)}`;
  const chart = overTimeChart(
    { id: `${id}-t`, title, desc, moments, value, format: amount, atLeast: seen.every((one) => one === 0) ? 1 : 0 },
    frame,
  );
  const show = (arm: ArmMoment) => {
    const one = value(arm);
    return one === null ? 'none' : amount(one);
  };
  const isRatio = tolerance.kind === 'ratio';
  return [
    figure(title, chart, numbers(headOf(portrait), momentRows(moments, frame, show))),
    effects(
      `${isRatio ? 'Ratio' : 'Difference'} of ${said} at each look, 95 % intervals`,
      `${id}-d`,
      looks.map(({ atMs, metrics }) => ({ atMs, effect: metrics.get(name) ?? null })),
      frame,
      isRatio ? ratioText : amount,
      isRatio ? 1 : 0,
      limitsOf(metric, policy),
    ),
    spread(`${said}, block by block`, `${id}-s`, judgedMoments(portrait, frame), value, amount),
  ];
}

function ratioText(value: number): string {
  return times(value).replace(' times', '×');
}

/** The changes from which a metric counts as worse; only `sequential` goes by them. */
function limitsOf(metric: MetricPolicy, policy: AnalysisPolicy): readonly number[] {
  if (policy.judge !== 'sequential') return [];
  const { direction, tolerance } = withNoise(metric, policy);
  const up = tolerance.kind === 'ratio' ? tolerance.ratio : tolerance.difference;
  const down = tolerance.kind === 'ratio' ? 1 / tolerance.ratio : -tolerance.difference;
  return direction === 'either' ? [up, down] : [direction === 'increase' ? up : down];
}

function judgedMoments({ moments }: Portrait, frame: TimeFrame): readonly Moment[] {
  return moments.filter(({ fromMs }) => fromMs >= frame.startMs + frame.warmUpMs);
}

function errorSpread(portrait: Portrait, frame: TimeFrame, id: string): string {
  return spread(
    'Error rates of the blocks',
    `${id}-se`,
    judgedMoments(portrait, frame),
    (arm) => arm.errorRate,
    percent,
  );
}

function latencySpread(portrait: Portrait, frame: TimeFrame, id: string): string {
  return spread(
    'p99 latencies of the blocks',
    `${id}-sl`,
    judgedMoments(portrait, frame),
    (arm) => arm.p99?.seconds ?? null,
    seconds,
  );
}

function spread(
  title: string,
  id: string,
  moments: readonly Moment[],
  value: (arm: ArmMoment) => number | null,
  format: (value: number) => string,
): string {
  const of = (arms: readonly (ArmMoment | null)[]) =>
    arms.flatMap((arm) => (arm === null ? [] : [value(arm)])).filter((one) => one !== null);
  const canary = of(moments.map((moment) => moment.canary));
  const comparison = of(moments.map((moment) => moment.comparison));
  if (canary.length < 2) return '';
  const middle = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
  const [own, other] = [middle(canary), middle(comparison)];
  const desc = `Cumulative distribution over the blocks after the warm-up. Median of the canary ${own === undefined ? 'none' : format(own)}, of the comparison ${other === undefined ? 'none' : format(other)}.`;
  const chart = spreadChart({
    id,
    title,
    desc,
    canary,
    comparison,
    format,
    unit: `${count(canary.length)} blocks each, after the warm-up`,
  });
  const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
  const [a, b] = [sorted(canary), sorted(comparison)];
  const deciles = [0, 0.25, 0.5, 0.75, 0.9, 1].map((q) => {
    const at = (values: readonly number[]) => values[Math.round(q * (values.length - 1))];
    const show = (one: number | undefined) => (one === undefined ? 'none' : format(one));
    return [percent(q), show(at(a)), show(at(b))];
  });
  return figure(title, chart, numbers(['share at or below', 'canary', 'comparison'], deciles));
}

function latencyBuckets({ latency }: Portrait, id: string): string {
  if (latency === null) return '';
  const title = 'Latencies of all requests after the warm-up';
  const rows = latency.canary.map((share, i) => [
    bucketName(latency.boundsSeconds, i),
    percent(share),
    ...(latency.comparison === null ? [] : [percent(latency.comparison[i] ?? 0)]),
  ]);
  const top = rows.toSorted((a, b) => Number.parseFloat(b[1] ?? '0') - Number.parseFloat(a[1] ?? '0'))[0];
  const desc = `Share of requests in each latency bucket. The canary's fullest bucket is ${top?.[0] ?? 'none'}, with ${top?.[1] ?? '0 %'}.`;
  const head = ['took', 'canary', ...(latency.comparison === null ? [] : ['comparison'])];
  return figure(title, bucketsChart({ id: `${id}-buckets`, title, desc }, latency), numbers(head, rows));
}

function looksFigure(looks: readonly LookSeen[], frame: TimeFrame, id: string): string {
  const nearest = looks.map(({ atMs, verdict }) => ({ atMs, verdict, finding: nearestToRollback(verdict.findings) }));
  const points = nearest.flatMap(({ atMs, finding }) =>
    finding === null ? [] : [{ atMs, p: finding.p, alpha: finding.alpha, name: metricName(finding) }],
  );
  const rows = nearest.map(({ atMs, verdict, finding }) => [
    momentText(atMs - frame.startMs),
    String(verdict.look),
    verdictText(verdict) + (atMs === frame.decided.atMs ? ', the verdict' : ''),
    ...(finding === null
      ? ['', '', '']
      : [metricName(finding), probabilityText(finding.p), probabilityText(finding.alpha)]),
  ]);
  const head = ['at', 'look', 'says', 'nearest to a rollback', 'its p', 'rollback below'];
  const table = numbers(head, rows);
  const title = 'How near each look came to a rollback';
  if (points.length === 0) return figure(title, '', paragraph('No test was made at any look.', 'soft') + table);
  const desc = `The p of the test that was nearest to a rollback, at each of ${count(looks.length)} looks in ${durationText(frame.untilMs - frame.startMs)}.`;
  const note = paragraph('Below the line it is a rollback only if the effect is beyond its limit too.', 'soft');
  return figure(title, overBudgetChart({ id: `${id}-budget`, title, desc, points }, frame), note + table);
}

function nearestToRollback(findings: readonly MetricFinding[]): (MetricFinding & { p: number; alpha: number }) | null {
  const tested = findings.flatMap((finding) => {
    const { p, alpha, metric, advisory } = finding;
    const decides = metric !== 'traffic-split' && advisory !== true;
    return p === null || alpha === null || alpha <= 0 || !decides ? [] : [{ ...finding, p, alpha }];
  });
  return tested.toSorted((a, b) => a.p / a.alpha - b.p / b.alpha)[0] ?? null;
}
