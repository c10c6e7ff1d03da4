/** Canary against what it is compared with: what is seen while it is seen, and what the judge says of it. */
import type { ReadonlySignal } from '@preact/signals';
import { useMemo, useState } from 'preact/hooks';
import type { RunDocument } from '../../server/contract.js';
import type { MetricFinding, Verdict } from '../../../domain/canary/types.js';
import { whatWouldChange } from '../../../domain/canary/what-would-change.js';
import type { LiveStage } from '../../../domain/live.js';
import type { StageVerdict } from '../../../domain/rollout.js';
import { count, percent, probability, seconds, times } from '../../../domain/words.js';
import { effectSentence, errorSentence, p99Sentence, stageLines, stageOf } from '../series.js';
import { evidenceOf } from './api.js';
import { Plot } from './plot.js';
import { clockText, plain, shortDigest } from './words.js';

export function Canary({
  run,
  stages,
}: {
  readonly run: ReadonlySignal<RunDocument>;
  readonly stages: ReadonlySignal<ReadonlyMap<string, LiveStage>>;
}) {
  const [stored, setStored] = useState<ReadonlyMap<string, LiveStage>>(new Map());
  // What the watch tells while it looks comes first: it may be further than what was stored.
  const all = new Map([...stored, ...stages.value]);
  const seen = [...all.values()];
  const [chosen, setChosen] = useState<string | null>(null);
  const { view } = run.value;
  const live = (chosen === null ? undefined : all.get(chosen)) ?? seen.at(-1);
  if (live === undefined && view.verdicts.length === 0) return null;
  return (
    <section class="card canary-card" aria-labelledby="canary">
      <h2 id="canary">Canary and what it is compared with</h2>
      {seen.length > 1 && (
        <div class="tabs" role="group" aria-label="Stage that is plotted">
          {seen.map(({ stage }) => (
            <button
              key={stage}
              type="button"
              class="quiet"
              aria-pressed={stage === live?.stage}
              onClick={() => setChosen(stage)}
            >
              {stageName(stage)}
            </button>
          ))}
        </div>
      )}
      {live !== undefined && <StagePlots key={live.stage} live={live} verdict={verdictOf(view.verdicts, live.stage)} />}
      {[...view.verdicts].reverse().map((entry) => (
        <VerdictCard
          key={`${entry.stage} ${entry.verdict.atMs}`}
          entry={entry}
          rolloutId={view.rolloutId}
          plotted={all.has(entry.stage)}
          onSeen={(stage) => {
            setStored(new Map([...stored, [stage.stage, stage]]));
            setChosen(stage.stage);
          }}
        />
      ))}
    </section>
  );
}

function verdictOf(verdicts: readonly StageVerdict[], stage: string): Verdict | null {
  return verdicts.findLast((entry) => entry.stage === stage)?.verdict ?? null;
}

export function stageName(stage: string): string {
  const number = /^stage-(\d+)$/.exec(stage)?.[1];
  return number === undefined ? plain(stage) : `stage ${number}`;
}

function StagePlots({ live, verdict }: { readonly live: LiveStage; readonly verdict: Verdict | null }) {
  const lines = useMemo(() => stageLines(live), [live]);
  const compared = live.points.some(({ comparison }) => comparison !== null);
  const decided = verdict === null ? [] : [{ atMs: verdict.atMs, kind: verdict.kind }];
  const from = live.startMs / 1000;
  const lastSeen = lines.times.at(-1) ?? from;
  const shared = {
    times: lines.times,
    looks: [...live.looks, ...decided],
    from,
    // A stage that was ended early is shown as long as it was.
    until:
      verdict === null
        ? Math.max((live.startMs + live.durationMs) / 1000, lastSeen)
        : lastSeen + (lastSeen - from) / 20,
  };
  const arms = (found: typeof lines.errorRate) => [
    { name: 'canary', values: found.canary, color: '--canary' as const },
    ...(compared
      ? [{ name: 'comparison', values: found.comparison, color: '--comparison' as const, dashed: true }]
      : []),
  ];
  const difference = effectSentence(lines.errorDifference, 'difference');
  const ratio = effectSentence(lines.p99Ratio, 'ratio');
  const look = live.looks.at(-1);
  if (live.points.length === 0) return <p class="soft">{stageName(live.stage)}: no request was seen yet.</p>;
  return (
    <>
      <p class="legend">
        <span>
          <i class="key line canary" aria-hidden="true" /> canary
        </span>
        {compared && (
          <span>
            <i class="key line comparison" aria-hidden="true" /> comparison
          </span>
        )}
        <span>
          <i class="key tick" aria-hidden="true" /> a look of the judge
        </span>
        {compared && (
          <span>
            <i class="key band" aria-hidden="true" /> 95 % interval
          </span>
        )}
      </p>
      <div class="plots">
        <Plot
          {...shared}
          title="Error rate"
          sentence={errorSentence(live)}
          lines={arms(lines.errorRate)}
          atLeast={0.01}
          format={percent}
        />
        <Plot
          {...shared}
          title="p99 latency"
          sentence={p99Sentence(lines)}
          lines={arms(lines.p99Ms)}
          atLeast={10}
          format={(ms) => seconds(ms / 1000)}
        />
        {difference !== null && (
          <Plot
            {...shared}
            title="Error rate so far: canary minus comparison"
            sentence={`Difference so far: ${difference}.`}
            lines={[{ name: 'difference', values: lines.errorDifference.value, color: '--ink' }]}
            band={lines.errorDifference}
            alike={0}
            atLeast={0.01}
            format={(share) => `${share < 0 ? '−' : ''}${percent(Math.abs(share)).replace(' %', ' pt')}`}
          />
        )}
        {ratio !== null && (
          <Plot
            {...shared}
            title="p99 so far: canary as a multiple of comparison"
            sentence={`Ratio so far: ${ratio}.`}
            lines={[{ name: 'ratio', values: lines.p99Ratio.value, color: '--ink' }]}
            band={lines.p99Ratio}
            alike={1}
            atLeast={0.2}
            format={(value) => `${Number(value.toPrecision(3))}×`}
          />
        )}
      </div>
      {look !== undefined && verdict === null && (
        <p class={`look ${look.kind}`}>
          <b class="word">{look.kind}</b> at the look of {clockText(look.atMs)}: {plain(look.summary)}
        </p>
      )}
    </>
  );
}

function VerdictCard(props: {
  readonly entry: StageVerdict;
  readonly rolloutId: string;
  /** Whether its stage can be plotted already. */
  readonly plotted: boolean;
  readonly onSeen: (stage: LiveStage) => void;
}) {
  const { rolloutId, plotted, onSeen } = props;
  const { verdict, stage, evidence } = props.entry;
  const change = whatWouldChange(verdict);
  return (
    <article class={`verdict ${verdict.kind}`}>
      <h3>
        <span class="word">{verdict.kind}</span> {stageName(stage)}{' '}
        <span class="soft">at {clockText(verdict.atMs)}</span>
      </h3>
      <p>{plain(verdict.summary)}</p>
      {change.length > 0 && (
        <div class="would-change">
          <h4>What would change it</h4>
          <ul>
            {change.map((sentence) => (
              <li key={sentence}>{plain(sentence)}</li>
            ))}
          </ul>
        </div>
      )}
      {verdict.findings.length > 0 && <Findings findings={verdict.findings} />}
      <p class="soft small">
        Judge {verdict.judge} {verdict.judgeVersion}, look {verdict.look}.{' '}
        {evidence === null ? 'The samples could not be stored.' : 'Samples: '}
        {evidence !== null && <code title={evidence}>{shortDigest(evidence)}</code>}
      </p>
      {evidence !== null && !plotted && (
        <PlotStored rolloutId={rolloutId} digest={evidence} stage={stage} onSeen={onSeen} />
      )}
    </article>
  );
}

function PlotStored(props: {
  readonly rolloutId: string;
  readonly digest: string;
  readonly stage: string;
  readonly onSeen: (stage: LiveStage) => void;
}) {
  const { rolloutId, digest, stage, onSeen } = props;
  const [loading, setLoading] = useState(false);
  const [problem, setProblem] = useState('');
  const load = async (): Promise<void> => {
    setLoading(true);
    const result = await evidenceOf(rolloutId, digest);
    if (result.kind === 'found') return onSeen(stageOf(result.value, stage));
    setLoading(false);
    setProblem(
      result.kind === 'problem' ? `${result.problem.title}. ${result.problem.next}` : 'The server did not answer.',
    );
  };
  return (
    <p>
      <button type="button" class="quiet" disabled={loading} onClick={() => void load()}>
        {loading ? 'Loading …' : `Plot what was seen in ${stageName(stage)}`}
      </button>{' '}
      <span role="alert" class="bad">
        {plain(problem)}
      </span>
    </p>
  );
}

const METRICS: Readonly<Record<string, string>> = {
  'error-rate': 'error rate',
  'latency-p99': 'p99 latency',
  'hard-limit': 'hard limit',
  'traffic-split': 'traffic split',
};

function Findings({ findings }: { readonly findings: readonly MetricFinding[] }) {
  return (
    <details class="numbers">
      <summary>What each metric says ({findings.length})</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="What each metric says">
        <table class="dense">
          <thead>
            <tr>
              <th scope="col">metric</th>
              <th scope="col">says</th>
              <th scope="col" class="number">
                canary
              </th>
              <th scope="col" class="number">
                comparison
              </th>
              <th scope="col" class="number">
                n
              </th>
              <th scope="col" class="number">
                p
              </th>
              <th scope="col">why</th>
            </tr>
          </thead>
          <tbody>
            {findings.map((finding) => (
              <tr key={`${finding.metric} ${finding.why}`}>
                <th scope="row">{METRICS[finding.metric] ?? plain(finding.metric)}</th>
                <td class={finding.verdict}>
                  <span class="word">{finding.verdict}</span>
                </td>
                <td class="number">{valueText(finding.canary, finding.unit)}</td>
                <td class="number">{valueText(finding.comparison, finding.unit)}</td>
                <td class="number">
                  {count(finding.canaryN)} / {count(finding.comparisonN)}
                </td>
                <td class="number">{finding.p === null ? '–' : probability(finding.p)}</td>
                <td class="why">{plain(finding.why)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function valueText(value: number | null, unit: string): string {
  if (value === null) return '–';
  if (unit === 'seconds') return seconds(value);
  if (unit === 'ratio' || unit === 'share') return percent(value);
  return times(value).replace(' times', '');
}
