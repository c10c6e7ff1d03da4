import { createReadStream } from 'node:fs';
import { opendir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { createGunzip } from 'node:zlib';
import { replay } from '../../domain/canary/replay.js';
import type { Verdict, VerdictKind } from '../../domain/canary/types.js';
import { count } from '../../domain/words.js';
import { digestOfPath } from '../../formats/evidence.js';
import { parseJudgeable } from '../../formats/judgeable.js';
import type { Judgeable } from '../../formats/judgeable.js';
import { parseJsonLine } from '../../formats/jsonl.js';
import { kindText, underPolicy, verdictOf } from '../judging/judgement.js';
import type { Candidate, Case } from '../judging/judgement.js';
import { caseOf, caseOfVerdict, foldersBeside } from '../judging/sources.js';
import { momentText } from '../report/words.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { linesOf } from './jsonl.js';
import { painter, plain } from './render.js';

const KINDS = ['PROMOTE', 'HOLD', 'ROLLBACK'] as const satisfies readonly VerdictKind[];
/** More than anyone reads; what is beyond is counted. */
const MOST_LISTED = 1000;
const MAX_FILE_BYTES = 512 * 1024 * 1024;

interface Change {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Seconds after the start of the stage. */
  readonly fromS: number;
  readonly toS: number;
  readonly why: string;
}

/** What a backtest has counted so far. It holds counts and a bounded list, never samples. */
class Tally {
  readonly table: Record<string, Record<string, number>> = {};
  readonly changes: Change[] = [];
  readonly unread: { file: string; problem: string }[] = [];
  judged = 0;
  changed = 0;
  unreadable = 0;
  /** Documents of other kinds: an evidence folder holds more than samples. */
  others = 0;
  earlier = 0;
  later = 0;
  sameTime = 0;

  add(name: string, from: Verdict, to: Verdict, startMs: number): Change | null {
    this.judged++;
    const row = (this.table[from.kind] ??= {});
    row[to.kind] = (row[to.kind] ?? 0) + 1;
    if (to.atMs < from.atMs) this.earlier++;
    else if (to.atMs > from.atMs) this.later++;
    else this.sameTime++;
    if (kindText(from) === kindText(to)) return null;
    const change = {
      name,
      from: kindText(from),
      to: kindText(to),
      fromS: (from.atMs - startMs) / 1000,
      toS: (to.atMs - startMs) / 1000,
      why: to.summary,
    };
    this.changed++;
    if (this.changes.length < MOST_LISTED) this.changes.push(change);
    return change;
  }

  refuse(file: string, problem: string): void {
    this.unreadable++;
    if (this.unread.length < MOST_LISTED) this.unread.push({ file, problem });
  }
}

/** `slipway judge --backtest DIR`: every record below the folder under another policy, and what would have changed. */
export async function backtest(
  context: CliContext,
  dir: string,
  options: { readonly candidate: Candidate | null; readonly evidence: string | undefined },
): Promise<CommandResult> {
  const root = path.resolve(context.cwd, dir);
  const found = await stat(root).catch(() => null);
  if (found === null || !found.isDirectory())
    throw usage(`there is no folder ${dir}`, 'name a folder of records, evidence or scenarios');
  const tally = new Tally();
  const paint = painter(context.color);
  const evidence = options.evidence === undefined ? [] : [path.resolve(context.cwd, options.evidence)];
  const own = new Set<string>();
  // Records first: the evidence that they name is judged as theirs, and not a second time by itself.
  for (const pass of ['records', 'others'] as const) {
    for await (const file of filesIn(root)) {
      if (context.signal.aborted) return done(null, 130);
      const shown = path.relative(root, file);
      const digest = digestOfPath(file);
      if (pass === 'others' && digest !== null && own.has(digest)) continue;
      try {
        for await (const { name, judgeable } of documentsOf(file, shown, tally, pass)) {
          if ((judgeable.kind === 'record') !== (pass === 'records')) continue;
          if (judgeable.kind === 'other') {
            tally.others++;
          } else if (judgeable.kind === 'faulty') {
            tally.refuse(name, judgeable.problem);
          } else if (judgeable.kind === 'record') {
            const { record } = judgeable;
            for (const entry of record.verdicts) {
              if (entry.evidence !== null) own.add(entry.evidence);
              const subject = await caseOfVerdict(record, entry, [...evidence, ...foldersBeside(file), root]);
              if (typeof subject === 'string') tally.refuse(`${name}, ${entry.stage}`, subject);
              else judgeBoth({ ...subject, name: `${name}, ${entry.stage}` });
            }
          } else {
            judgeBoth({ ...caseOf(judgeable, name), name });
          }
        }
      } catch (error) {
        if (pass === 'records') continue;
        tally.refuse(shown, error instanceof Error ? error.message : String(error));
      }
    }
  }

  function judgeBoth(subject: Case): void {
    try {
      const from = subject.recorded ?? verdictOf(subject);
      const { candidate } = options;
      const to = candidate === null ? verdictOf(subject) : replay(underPolicy(subject, candidate), subject.untilMs);
      const change = tally.add(subject.name, from, to, subject.recording.startMs);
      if (change !== null && !context.json && tally.changed <= MOST_LISTED)
        for (const line of changeLines(change)) context.out(line);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      tally.refuse(subject.name, error.message);
    }
  }

  if (tally.judged === 0 && tally.unreadable === 0) {
    throw usage(
      `there is nothing to judge in ${dir}`,
      'it needs decision records, stored evidence or scenarios (.json, .jsonl, .jsonl.gz)',
    );
  }
  if (!context.json) for (const line of summaryLines(tally, options.candidate !== null)) context.out(line);
  return done(documentOf(tally));

  function changeLines({ name, from, to, fromS, toS, why }: Change): readonly string[] {
    const head = `${plain(name)}: ${from} at ${momentText(1000 * fromS)} → ${paint('bold', to)} at ${momentText(1000 * toS)}`;
    return [head, `  ${plain(why)}`];
  }
}

function summaryLines(tally: Tally, hasCandidate: boolean): readonly string[] {
  const cell = (text: string) => text.padStart(10);
  const under = hasCandidate ? 'the candidate policy' : 'this version of the judge';
  const lines = tally.changed === 0 ? [] : [''];
  if (tally.changed > MOST_LISTED) lines.push(`… and ${count(tally.changed - MOST_LISTED)} more`);
  lines.push(`${count(tally.judged)} judged; ${count(tally.changed)} would have another verdict under ${under}`, '');
  lines.push(`${'old \\ new'.padEnd(10)}${KINDS.map(cell).join('')}`);
  for (const from of KINDS) {
    lines.push(`${from.padEnd(10)}${KINDS.map((to) => cell(count(tally.table[from]?.[to] ?? 0))).join('')}`);
  }
  lines.push(
    '',
    `earlier: ${count(tally.earlier)}, later: ${count(tally.later)}, at the same time: ${count(tally.sameTime)}`,
  );
  if (tally.others > 0) lines.push(`passed over, as they are of other kinds: ${count(tally.others)}`);
  if (tally.unreadable > 0) {
    lines.push(`could not be judged: ${count(tally.unreadable)}`);
    for (const { file, problem } of tally.unread.slice(0, 50)) lines.push(`  ${plain(file)}: ${plain(problem)}`);
    if (tally.unreadable > 50) lines.push(`  … and ${count(tally.unreadable - 50)} more; --json names them`);
  }
  return lines;
}

function documentOf(tally: Tally): object {
  const { judged, changed, earlier, later, sameTime, changes, others, unreadable, unread } = tally;
  const table = Object.fromEntries(
    KINDS.map((from) => [from, Object.fromEntries(KINDS.map((to) => [to, tally.table[from]?.[to] ?? 0]))]),
  );
  return { judged, changed, table, earlier, later, sameTime, changes, others, unreadable, unread };
}

/** Files that may hold records, in the order of their names, so that two runs say the same. */
async function* filesIn(folder: string): AsyncGenerator<string> {
  const names: { readonly name: string; readonly isFolder: boolean }[] = [];
  for await (const entry of await opendir(folder)) names.push({ name: entry.name, isFolder: entry.isDirectory() });
  names.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, isFolder } of names) {
    const file = path.join(folder, name);
    if (isFolder) yield* filesIn(file);
    else if (/\.json$|\.jsonl(\.gz)?$/.test(name)) yield file;
  }
}

interface Found {
  readonly name: string;
  readonly judgeable: Judgeable;
}

/** Whether it is worth while to read it when records are looked for: reading all twice would take twice as long. */
function maybeRecord(text: string): boolean {
  return text.includes('"verdicts"');
}

/** The documents of a file; a line that is none is counted, and the next one read. */
async function* documentsOf(file: string, shown: string, tally: Tally, pass: string): AsyncGenerator<Found> {
  if (/\.jsonl(\.gz)?$/.test(file)) {
    const bytes = createReadStream(file);
    const unzip = file.endsWith('.gz') ? createGunzip() : null;
    // A stream that breaks must break the one that is read too, or nobody hears of it.
    if (unzip !== null) bytes.once('error', (error) => unzip.destroy(error)).pipe(unzip);
    const text = (unzip ?? bytes).setEncoding('utf8');
    for await (const { number, text: line } of linesOf(text as AsyncIterable<string>)) {
      if (line !== null && (line.trim() === '' || (pass === 'records' && !maybeRecord(line)))) continue;
      const read = line === null ? ({ ok: false, problem: 'too long' } as const) : parseJsonLine(line);
      if (read.ok) {
        const judgeable = parseJudgeable(read.value);
        const id = judgeable.kind === 'scenario' ? judgeable.id : null;
        yield { name: id ?? `${shown}:${number}`, judgeable };
      } else if (pass === 'others') {
        tally.refuse(`${shown}:${number}`, read.problem);
      }
    }
    return;
  }
  if ((await stat(file)).size > MAX_FILE_BYTES) throw new Error('larger than any record');
  const text = await readFile(file, 'utf8');
  if (pass === 'records' && !maybeRecord(text)) return;
  const read = parseJsonLine(text.replace(/^\uFEFF/, ''));
  if (!read.ok) throw new Error(read.problem);
  const judgeable = parseJudgeable(read.value);
  yield { name: shown, judgeable };
}
