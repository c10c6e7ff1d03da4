import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { digestOfText } from '../../domain/canonical.js';
import type { JudgeName } from '../../domain/canary/types.js';
import { digestOfPath, evidencePath } from '../../formats/evidence.js';
import { parseJudgeable } from '../../formats/judgeable.js';
import type { Judgeable, RecordedRollout, RecordedVerdict } from '../../formats/judgeable.js';
import { parseJsonLine } from '../../formats/jsonl.js';
import { usage } from '../cli/context.js';
import type { CliContext } from '../cli/context.js';
import type { Case } from './judgement.js';

/** More than any record or evidence has; a file of another kind is refused unread. */
const MAX_BYTES = 512 * 1024 * 1024;

/** What was found in a file: what can be judged, and what of it can't be. */
export interface Cases {
  readonly kind: 'record' | 'input' | 'scenario';
  readonly cases: readonly Case[];
  /** Verdicts of a record whose samples are not to be had, and why. */
  readonly missing: readonly string[];
}

/** Reads one file for `slipway judge`: a path, `-` for standard input, or with an evidence folder a digest. */
export async function readCases(
  context: CliContext,
  file: string,
  options: { readonly evidence?: string | undefined; readonly judge: JudgeName; readonly stage?: string | undefined },
): Promise<Cases> {
  const folder = options.evidence === undefined ? null : path.resolve(context.cwd, options.evidence);
  const named = evidencePath(file);
  if (named !== null && folder === null) throw usage(`${file} is a digest`, 'say where it is kept: --evidence DIR');
  const place = named !== null && folder !== null ? path.join(folder, named) : path.resolve(context.cwd, file);
  const text = file === '-' ? await readAll(context) : await readText(place, file);
  const document = parseText(text, file === '-' ? 'standard input' : file);
  const judgeable = parseJudgeable(document, options.judge);
  if (judgeable.kind === 'other' || judgeable.kind === 'faulty') throw cantBeJudged(file, judgeable);
  if (judgeable.kind !== 'record') return { kind: judgeable.kind, cases: [caseOf(judgeable, file)], missing: [] };
  const folders = folder === null ? (file === '-' ? [context.cwd] : foldersBeside(place)) : [folder];
  return casesOfRecord(judgeable.record, folders, options.stage);
}

function cantBeJudged(file: string, { kind, problem }: Extract<Judgeable, { problem: string }>): Error {
  const remedy =
    kind === 'other'
      ? 'give a decision record, stored evidence, or one scenario (raw counters of both arms): see docs/judge.md'
      : 'correct it there; docs/judge.md tells what each field holds';
  return usage(`${file} can't be judged: ${problem}`, remedy);
}

/** A case of evidence or of a scenario. */
export function caseOf(judgeable: Extract<Judgeable, { kind: 'input' | 'scenario' }>, name: string): Case {
  if (judgeable.kind === 'scenario') {
    const { recording, horizonMs } = judgeable.scenario;
    const untilMs = recording.startMs + horizonMs;
    const shown = judgeable.id ?? path.basename(name);
    return { name: shown, about: null, recording, untilMs, asOfEnd: false, recorded: null };
  }
  const { atMs, ...recording } = judgeable.input;
  return { name: path.basename(name), about: null, recording, untilMs: atMs, asOfEnd: true, recorded: null };
}

async function casesOfRecord(
  record: RecordedRollout,
  folders: readonly string[],
  stage: string | undefined,
): Promise<Cases> {
  const wanted = record.verdicts.filter((entry) => stage === undefined || entry.stage === stage);
  if (wanted.length === 0) {
    const stages = record.verdicts.map((entry) => entry.stage).join(', ');
    if (stage === undefined)
      throw usage(
        `rollout ${record.rolloutId} was never judged: its record holds no verdict`,
        'it ended before its canary',
      );
    throw usage(`there is no verdict of "${stage}" in the record`, `stages with a verdict: ${stages || 'none'}`);
  }
  const cases: Case[] = [];
  const missing: string[] = [];
  for (const entry of wanted) {
    const found = await caseOfVerdict(record, entry, folders);
    if (typeof found === 'string') missing.push(`${entry.stage}: ${found}`);
    else cases.push(found);
  }
  if (cases.length === 0) {
    throw usage(
      `no verdict of the record can be judged again:\n${missing.join('\n')}`,
      'name the folder of the evidence (SLIPWAY_DATA_DIR/evidence) with --evidence DIR',
    );
  }
  return { kind: 'record', cases, missing };
}

/** The samples behind a recorded verdict as a case, or why they are not to be had. */
export async function caseOfVerdict(
  record: RecordedRollout,
  { stage, verdict, evidence }: RecordedVerdict,
  folders: readonly string[],
): Promise<Case | string> {
  if (evidence === null) return 'its samples could not be stored at the time';
  const relative = evidencePath(evidence);
  if (relative === null) return `its evidence "${evidence}" is no digest`;
  const text = await firstText(folders.map((folder) => path.join(folder, relative)));
  if (text === null) return `its evidence ${evidence} is not in ${folders.join(' or ')}`;
  if (digestOfText(text) !== evidence) return `its evidence ${evidence} was changed: its bytes have another digest`;
  const judgeable = parseJudgeable(JSON.parse(text));
  if (judgeable.kind !== 'input')
    return `its evidence ${evidence} can't be judged${'problem' in judgeable ? `: ${judgeable.problem}` : ''}`;
  const { atMs, ...recording } = judgeable.input;
  const { service, environment, releaseName, rolloutId } = record;
  const about = `${service} in ${environment}${releaseName === '' ? '' : `: ${releaseName}`}, rollout ${rolloutId}`;
  return { name: stage, about, recording, untilMs: atMs, asOfEnd: true, recorded: verdict };
}

/** Where the evidence of a record may lie: the folder that the record itself is kept in by digest, or beside it. */
export function foldersBeside(file: string): readonly string[] {
  const dir = path.dirname(file);
  if (digestOfPath(file) !== null) return [path.dirname(path.dirname(dir))];
  return [dir, path.join(dir, 'evidence')];
}

async function firstText(files: readonly string[]): Promise<string | null> {
  for (const file of files) {
    try {
      return await readFile(file, 'utf8');
    } catch {
      // The next one may have it.
    }
  }
  return null;
}

async function readAll(context: CliContext): Promise<string> {
  let text = '';
  for await (const chunk of context.input as AsyncIterable<string>) {
    text += chunk;
    if (text.length > MAX_BYTES) throw usage('standard input is too large', 'give one document');
  }
  return text;
}

async function readText(place: string, shown: string): Promise<string> {
  try {
    const { size } = await stat(place);
    if (size > MAX_BYTES) throw new Error(`it has more than ${MAX_BYTES / 1024 / 1024} MB`);
    const bytes = await readFile(place);
    return (place.endsWith('.gz') ? await promisify(gunzip)(bytes, { maxOutputLength: MAX_BYTES }) : bytes).toString(
      'utf8',
    );
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const why = error instanceof Error ? error.message : String(error);
    throw usage(
      missing ? `there is no file ${shown}` : `${shown} can't be read: ${why}`,
      'name a file, or - for standard input',
    );
  }
}

function parseText(text: string, shown: string): unknown {
  const bare = text.replace(/^\uFEFF/, '');
  if (bare.trim() === '') throw usage(`${shown} is empty`, 'give a decision record, stored evidence, or one scenario');
  const read = parseJsonLine(bare);
  if (read.ok) return read.value;
  const lines = bare.split('\n').filter((line) => line.trim() !== '');
  if (lines.length > 1 && lines.slice(0, 2).every((line) => parseJsonLine(line).ok)) {
    throw usage(
      `${shown} holds ${lines.length} documents, one a line`,
      'judge them with --jsonl on standard input, or their folder with --backtest',
    );
  }
  throw usage(`${shown} is ${read.problem}`, 'give JSON: a decision record, stored evidence, or one scenario');
}
