import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { replay } from '../../domain/canary/replay.js';
import { JUDGES } from '../../domain/canary/types.js';
import type { AnalysisPolicy, JudgeName } from '../../domain/canary/types.js';
import { parseJsonLine } from '../../formats/jsonl.js';
import { importKayentaConfig, isKayentaConfig } from '../../formats/kayenta-config.js';
import { parseScenario } from '../../formats/scenario.js';
import { formatProblems, parseAnalysis } from '../../formats/slipway-yaml.js';
import { judgeCase, kindText } from '../judging/judgement.js';
import type { Candidate, Case, Judgement, Opined } from '../judging/judgement.js';
import { readCases } from '../judging/sources.js';
import { reportPage } from '../report/page.js';
import { judgementLines } from '../report/text.js';
import { backtest } from './backtest.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { answerLines } from './jsonl.js';
import { painter } from './render.js';

export interface JudgeOptions {
  readonly jsonl?: boolean;
  readonly judge?: string;
  readonly html?: string;
  readonly policy?: string;
  readonly env?: string;
  readonly evidence?: string;
  readonly stage?: string;
  readonly backtest?: string;
}

/** `slipway judge`: one file, a folder of them, or lines on standard input. */
export async function judgeCommand(
  context: CliContext,
  file: string | undefined,
  options: JudgeOptions,
): Promise<CommandResult> {
  const ways = [file === undefined ? '' : 'FILE', options.jsonl ? '--jsonl' : '', options.backtest ? '--backtest' : ''];
  const said = ways.filter((way) => way !== '');
  if (said.length > 1) throw usage(`${said.join(' and ')} can't go together`, 'choose one of them');
  const name = judgeName(options.judge);
  if (options.jsonl === true) {
    const odd = (['html', 'policy', 'evidence', 'stage'] as const).find((key) => options[key] !== undefined);
    if (odd !== undefined) throw usage(`--${odd} does not go with --jsonl`, 'it is for a FILE; leave one of them out');
    return judgeScenarios(context, name ?? 'sequential');
  }
  if (options.env !== undefined && options.policy === undefined) {
    throw usage('--env needs --policy', 'add --policy slipway.yaml, or leave --env out');
  }
  const candidate = await candidateOf(context, options, name);
  if (options.backtest !== undefined) {
    const odd = (['html', 'stage'] as const).find((key) => options[key] !== undefined);
    if (odd !== undefined) throw usage(`--${odd} does not go with --backtest`, 'it is for a single FILE');
    return backtest(context, options.backtest, { candidate, evidence: options.evidence });
  }
  if (file === undefined) {
    throw usage(
      'it is not said what to judge',
      'name a FILE (a decision record, stored evidence, or one scenario), add --jsonl: one scenario a line, or --backtest DIR',
    );
  }
  return judgeFile(context, file, options, { name, candidate });
}

function judgeName(text: string | undefined): JudgeName | null {
  if (text === undefined) return null;
  const name = JUDGES.find((known) => known === text);
  if (name === undefined) throw usage(`there is no judge "${text}"`, `judges: ${JUDGES.join(', ')}`);
  return name;
}

async function judgeFile(
  context: CliContext,
  file: string,
  options: JudgeOptions,
  asked: { readonly name: JudgeName | null; readonly candidate: Candidate | null },
): Promise<CommandResult> {
  const { html, evidence, stage } = options;
  const found = await readCases(context, file, { evidence, stage, judge: asked.name ?? 'sequential' });
  // A scenario names no judge: the one that was asked for is its own, not another to compare with.
  const isScenario = found.kind === 'scenario';
  const candidate = isScenario && options.policy === undefined ? null : asked.candidate;
  const judgements = found.cases.map((subject) => judged(subject, candidate));
  if (html !== undefined) await writePage(context, html, judgements, found.missing);
  if (!context.json) {
    const paint = painter(context.color);
    for (const [i, judgement] of judgements.entries()) {
      if (i > 0) context.out(`\n${'─'.repeat(60)}\n`);
      for (const line of judgementLines(judgement, paint)) context.out(line);
    }
    for (const reason of found.missing) context.note(`slipway: not judged: ${reason}`);
    if (html !== undefined) context.note(`the page is in ${html}`);
  }
  return done({ kind: found.kind, judgements: judgements.map(documentOf), notJudged: found.missing });
}

function judged(subject: Case, candidate: Candidate | null): Judgement {
  try {
    return judgeCase(subject, candidate);
  } catch (error) {
    // Samples or times that make no sense: the judge says which.
    if (!(error instanceof RangeError)) throw error;
    throw usage(
      `${subject.name} can't be judged: ${error.message}`,
      'correct it in the file; docs/judge.md tells what each field holds',
    );
  }
}

async function writePage(
  context: CliContext,
  html: string,
  judgements: readonly Judgement[],
  missing: readonly string[],
): Promise<void> {
  try {
    await writeFile(path.resolve(context.cwd, html), reportPage(judgements, missing));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw usage(`${html} can't be written: ${why}`, 'name a file in a folder that exists');
  }
}

/** What `--policy` and `--judge` make of a recorded policy; null without either. */
async function candidateOf(
  context: CliContext,
  { policy, env }: JudgeOptions,
  name: JudgeName | null,
): Promise<Candidate | null> {
  const named = (analysis: AnalysisPolicy) => (name === null ? analysis : { ...analysis, judge: name });
  if (policy === undefined) return name === null ? null : named;
  const text = await readPolicyText(path.resolve(context.cwd, policy), policy);
  const config = parseJsonLine(text);
  if (config.ok && isKayentaConfig(config.value)) return kayentaCandidate(context, config.value, policy);
  const read = parseAnalysis(text, policy, env);
  if (!read.ok) {
    const remedy = 'give a slipway.yaml, or its analysis part alone: docs/slipway-yaml.md tells what may stand there';
    throw usage(`${policy} is no policy to judge by:\n${formatProblems(read.problems, policy, text)}`, remedy);
  }
  return ({ scrapeIntervalMs, warmUpMs, noiseFloor }) => {
    // Which arm was compared with is not kept; a long warm-up tells that it was not a fresh one.
    const compareWith = warmUpMs >= 8 * scrapeIntervalMs ? 'stable' : 'baseline';
    return named(read.analysisFor({ scrapeIntervalMs, compareWith, noiseFloor }));
  };
}

/** A canary config of Spinnaker's Kayenta: the judge `kayenta` by its constants. */
function kayentaCandidate(context: CliContext, config: unknown, shown: string): Candidate {
  const read = importKayentaConfig(config);
  if (!read.ok) {
    const problems = read.problems.map(({ message, remedy }) => `${message}\n  → ${remedy}`).join('\n');
    throw usage(`${shown} is no canary config of Kayenta:\n${problems}`, 'put it right, or give a slipway.yaml');
  }
  for (const warning of read.warnings) context.note(`${shown}: ${warning}`);
  const { kayenta, metrics } = read;
  return (recorded) => ({ ...recorded, judge: 'kayenta', kayenta, metrics });
}

async function readPolicyText(place: string, shown: string): Promise<string> {
  try {
    return await readFile(place, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const why = error instanceof Error ? error.message : String(error);
    throw usage(
      missing ? `there is no file ${shown}` : `${shown} can't be read: ${why}`,
      'name a slipway.yaml, or a file with its analysis part',
    );
  }
}

/** A judgement as `--json` gives it. */
function documentOf({ subject, said, reproduction, candidate }: Judgement): object {
  return {
    name: subject.name,
    about: subject.about,
    ...opinedDocument(said),
    recorded:
      subject.recorded === null
        ? null
        : { verdict: subject.recorded.kind, judgeVersion: subject.recorded.judgeVersion, ...reproduction },
    candidate:
      candidate === null
        ? null
        : { ...opinedDocument(candidate), changed: kindText(candidate.verdict) !== kindText(said.verdict) },
  };
}

function opinedDocument({ verdict, input, findings, wouldChange, obstacles }: Opined): object {
  return {
    verdict,
    decided_at_s: (verdict.atMs - input.startMs) / 1000,
    findings: findings.map(({ finding, interval, tipped }) => ({ ...finding, interval, tipped })),
    wouldChange,
    obstacles,
  };
}

/** `slipway judge --jsonl`: one recorded canary a line in, one verdict a line out. */
async function judgeScenarios(context: CliContext, name: JudgeName): Promise<CommandResult> {
  return answerLines(context, (document) => {
    const scenario = parseScenario(document, name);
    if ('problem' in scenario) return scenario;
    const { recording, horizonMs } = scenario;
    try {
      const { kind, atMs, hold, summary } = replay(recording, horizonMs);
      return { answer: { verdict: kind, decided_at_s: (atMs - recording.startMs) / 1000, hold, summary } };
    } catch (error) {
      // Samples that make no sense: the judge says which.
      if (error instanceof RangeError) return { problem: error.message };
      throw error;
    }
  });
}
