/** What a CI job shows of a rollout: a Markdown page, and values for the steps that follow. Pure. */
import { statusLine } from '../../domain/details.js';
import type { MetricFinding } from '../../domain/canary/types.js';
import type { RolloutView, StageVerdict } from '../../domain/rollout.js';
import { amount, count, durationText, percent, percentText, probability, seconds } from '../../domain/words.js';

/** GitHub refuses a summary above 1 MiB, and keeps the job green: what is longer is cut well before, and says so. */
export const SUMMARY_LIMIT = 900 * 1024;
const STORY_LINES = 60;

export interface SummaryLinks {
  /** The rollout's page; null where no server is used. */
  readonly page: string | null;
  readonly temporalWeb: string | null;
}

/** The rollout as a page of GitHub's and GitLab's Markdown. */
export function markdownSummary(view: RolloutView, links: SummaryLinks): string {
  const { lane, reason, plan } = view;
  const parts = [
    `## ${text(lane.service)} in ${text(lane.environment)}: ${text(statusLine(view))}`,
    paragraph([
      `\`${code(view.releaseName)}\`, rollout \`${view.rolloutId}\`, started by ${text(view.actor.subject)}`,
      view.endedAt === null ? null : `took ${durationText(Date.parse(view.endedAt) - Date.parse(view.startedAt))}`,
    ]),
    reason === null ? null : `**${text(reason.text)}**`,
    view.wait === null
      ? null
      : [
          `Waits for ${text(view.wait.who || 'nobody: it goes on by itself')}: ${text(view.wait.reason)}`,
          ...view.wait.commands.map((command) => `\n    ${command}`),
        ].join('\n'),
    paragraph([
      links.page === null ? null : `[the rollout's page](${links.page})`,
      links.temporalWeb === null ? null : `[in Temporal Web](${links.temporalWeb})`,
    ]),
    view.assessment === null
      ? null
      : `Risk ${view.assessment.risk.score} (${view.assessment.risk.level}): ${text(
          view.assessment.risk.factors.map((factor) => factor.reason).join('; ') || 'no factor',
        )}`,
    plan === null ? null : verdictTable(view),
    chart(view.verdicts, { metric: 'error-rate', unit: 'ratio', title: 'Error rate, percent', scale: 100 }),
    chart(view.verdicts, { metric: 'latency-p99', unit: 'seconds', title: 'p99, milliseconds', scale: 1000 }),
    decisions(view),
    story(view),
  ];
  return cut(`${parts.filter((part) => part !== null && part !== '').join('\n\n')}\n`);
}

/** `name=value` for later steps; names as in the action's `outputs`. */
export function summaryOutputs(
  view: RolloutView,
  exitCode: number,
  links: SummaryLinks,
): Readonly<Record<string, string>> {
  return {
    'rollout-id': view.rolloutId,
    outcome: view.outcome ?? view.status,
    'exit-code': String(exitCode),
    reason: view.reason?.text ?? view.wait?.reason ?? '',
    release: view.releaseName,
    risk: view.assessment === null ? '' : String(view.assessment.risk.score),
    page: links.page ?? '',
  };
}

/**
 * The text of `$GITHUB_OUTPUT`. Values come from commit messages, too: each has a delimiter of its own that no value
 * can know, or it could set other outputs.
 * @param delimiter random; the same for all
 */
export function githubOutputs(values: Readonly<Record<string, string>>, delimiter: string): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}<<${delimiter}\n${value.replaceAll('\r', '')}\n${delimiter}\n`)
    .join('');
}

/** The text of a dotenv report of GitLab: names in capitals, values on one line. */
export function dotenvOutputs(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `SLIPWAY_${name.toUpperCase().replaceAll('-', '_')}=${value.replaceAll(/\s+/g, ' ')}\n`)
    .join('');
}

function verdictTable({ verdicts, plan }: RolloutView): string | null {
  if (verdicts.length === 0) return null;
  const rows = verdicts.flatMap(({ stage, verdict }) => {
    const number = /^stage-(\d+)$/.exec(stage)?.[1];
    const weight = plan?.stages.find((each) => String(each.number) === number)?.weights.canary;
    const name = weight === undefined ? stage : `${number}: ${percentText(weight)}`;
    return verdict.findings
      .filter(({ canary }) => canary !== null)
      .map((finding) => [name, ...findingCells(finding), mark(finding.verdict)]);
  });
  const said = verdicts.map(({ stage, verdict }) => `- ${text(stage)}: ${mark(verdict.kind)} ${text(verdict.summary)}`);
  const head = ['stage', 'metric', 'canary', 'compared with', 'n', 'p', 'says'];
  return [...(rows.length === 0 ? [] : [table(head, rows), '']), ...said].join('\n');
}

function findingCells({ metric, canary, comparison, unit, canaryN, comparisonN, p }: MetricFinding): readonly string[] {
  const value = (x: number | null): string =>
    x === null ? '' : unit === 'seconds' ? seconds(x) : unit === 'share' || unit === 'ratio' ? percent(x) : amount(x);
  const n = comparison === null ? count(canaryN) : `${count(canaryN)} / ${count(comparisonN)}`;
  const name = metric === 'latency-p99' && unit === 'share' ? 'slow requests' : metric;
  return [text(name), value(canary), value(comparison), n, p === null ? '' : probability(p)];
}

function mark(kind: MetricFinding['verdict']): string {
  return { PROMOTE: '✅ PROMOTE', HOLD: '⏸️ HOLD', ROLLBACK: '❌ ROLLBACK' }[kind];
}

/** Mermaid draws it where it is known; the table below is for everywhere else. */
function chart(
  verdicts: readonly StageVerdict[],
  {
    metric,
    unit,
    title,
    scale,
  }: { readonly metric: string; readonly unit: string; readonly title: string; readonly scale: number },
): string | null {
  const points = verdicts.flatMap(({ stage, verdict }) => {
    const finding = verdict.findings.find((each) => each.metric === metric && each.unit === unit);
    return finding?.canary == null || finding.comparison === null
      ? []
      : [{ stage, canary: scale * finding.canary, comparison: scale * finding.comparison }];
  });
  if (points.length === 0) return null;
  const digits = (value: number): string => String(Number(value.toPrecision(4)));
  // Where nothing was seen at all, the axis still needs a length.
  const top = Math.max(...points.flatMap((point) => [point.canary, point.comparison])) || 1;
  const bars = (value: number): string => '█'.repeat(Math.ceil((20 * value) / top));
  return [
    '```mermaid',
    'xychart-beta',
    `  title "${title}: canary (bars) against its comparison (line)"`,
    `  x-axis [${points.map(({ stage }) => `"${stage.replaceAll('"', '')}"`).join(', ')}]`,
    `  y-axis "${title}" 0 --> ${digits(1.1 * top)}`,
    `  bar [${points.map(({ canary }) => digits(canary)).join(', ')}]`,
    `  line [${points.map(({ comparison }) => digits(comparison)).join(', ')}]`,
    '```',
    '',
    table(
      ['stage', title, ''],
      points.flatMap(({ stage, canary, comparison }) => [
        [text(stage), `canary ${digits(canary)}`, bars(canary)],
        ['', `comparison ${digits(comparison)}`, bars(comparison)],
      ]),
    ),
  ].join('\n');
}

function decisions({ decisions: said }: RolloutView): string | null {
  if (said.length === 0) return null;
  const rows = said.map(({ verb, actor, gate, reason, at }) => [
    at.slice(0, 19).replace('T', ' '),
    text(actor.subject),
    gate === null ? verb : `${verb} (${text(gate)})`,
    actor.verified ? 'signed' : 'unverified',
    text(reason ?? ''),
  ]);
  return table(['when (UTC)', 'who', 'what', '', 'why'], rows);
}

function story({ timeline }: RolloutView): string {
  const left = timeline.length - STORY_LINES;
  const lines = timeline.slice(-STORY_LINES).map((entry) => `- \`${entry.at.slice(11, 19)}\` ${text(entry.text)}`);
  return `<details><summary>The story</summary>\n\n${left > 0 ? `- … ${left} lines before\n` : ''}${lines.join('\n')}\n\n</details>`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function paragraph(parts: readonly (string | null)[]): string | null {
  const said = parts.filter((part) => part !== null);
  return said.length === 0 ? null : said.join(' · ');
}

/** Text of other people as text: no markup, no table cell of its own, no mention of anybody. */
function text(foreign: string): string {
  return foreign
    .replaceAll(/[\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]+/g, ' ')
    .replaceAll(/[\\`*_{}[\]<>()#+!|~$&]/g, (character) => `\\${character}`)
    .replaceAll('@', '@\u200B')
    .replaceAll('://', ':\u200B//');
}

function code(foreign: string): string {
  return foreign.replaceAll(/[`\u0000-\u001F\u007F]/g, ' ');
}

function cut(page: string): string {
  const bytes = Buffer.from(page);
  if (bytes.length <= SUMMARY_LIMIT) return page;
  // A character that the cut has torn apart is left out.
  const whole = new TextDecoder().decode(bytes.subarray(0, SUMMARY_LIMIT)).replace(/\uFFFD$/, '');
  return `${whole}\n\n… cut: the page was ${count(bytes.length)} bytes long\n`;
}
