import { createReadStream } from 'node:fs';
import { opendir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { createGunzip } from 'node:zlib';
import { digestOfPath } from '../../formats/evidence.js';
import { parseJudgeable } from '../../formats/judgeable.js';
import type { Judgeable, RecordedRollout } from '../../formats/judgeable.js';
import { parseJsonLine } from '../../formats/jsonl.js';
import { usage } from '../cli/context.js';
import type { CliContext } from '../cli/context.js';
import { linesOf } from '../cli/jsonl.js';
import type { Case } from './judgement.js';
import { caseOf, caseOfVerdict, foldersBeside } from './sources.js';

const MAX_FILE_BYTES = 512 * 1024 * 1024;

/** What lies in a folder of records. */
export type Found =
  /** `rollout`: the decision record that names these samples; null where they were found by themselves. */
  | { readonly kind: 'case'; readonly subject: Case; readonly rollout: RecordedRollout | null }
  | { readonly kind: 'problem'; readonly name: string; readonly problem: string }
  /** Of another kind: an evidence folder holds more than samples. */
  | { readonly kind: 'other' };

/** Records are read before what they name. */
const PASSES = ['records', 'others'] as const;
type Pass = (typeof PASSES)[number];

/** A folder that was named on the command line. @throws CliError where there is none */
export async function folderOf(context: CliContext, dir: string): Promise<string> {
  const root = path.resolve(context.cwd, dir);
  const found = await stat(root).catch(() => null);
  if (found === null || !found.isDirectory())
    throw usage(`there is no folder ${dir}`, 'name a folder of records, evidence or scenarios');
  return root;
}

/**
 * Everything below a folder that can be judged, one after the other, in the order of the names: memory stays flat.
 * Evidence that a record names comes as the record's, and not a second time by itself.
 *
 * @param evidence further folders of evidence by digest
 */
export async function* casesBelow(root: string, evidence: readonly string[]): AsyncGenerator<Found> {
  const own = new Set<string>();
  for (const pass of PASSES) {
    for await (const file of filesIn(root)) {
      const shown = path.relative(root, file);
      const digest = digestOfPath(file);
      if (pass === 'others' && digest !== null && own.has(digest)) continue;
      try {
        for await (const document of documentsOf(file, shown, pass)) {
          const { name } = document;
          if ('problem' in document) {
            yield { kind: 'problem', ...document };
            continue;
          }
          const { judgeable } = document;
          if ((judgeable.kind === 'record') !== (pass === 'records')) continue;
          if (judgeable.kind === 'other') yield { kind: 'other' };
          else if (judgeable.kind === 'faulty') yield { kind: 'problem', name, problem: judgeable.problem };
          else if (judgeable.kind === 'record') {
            const { record } = judgeable;
            for (const entry of record.verdicts) {
              if (entry.evidence !== null) own.add(entry.evidence);
              const subject = await caseOfVerdict(record, entry, [...evidence, ...foldersBeside(file), root]);
              const stage = `${name}, ${entry.stage}`;
              if (typeof subject === 'string') yield { kind: 'problem', name: stage, problem: subject };
              else yield { kind: 'case', subject: { ...subject, name: stage }, rollout: record };
            }
          } else yield { kind: 'case', subject: { ...caseOf(judgeable, name), name }, rollout: null };
        }
      } catch (error) {
        // It is read a second time, and told of then.
        if (pass === 'records') continue;
        yield { kind: 'problem', name: shown, problem: error instanceof Error ? error.message : String(error) };
      }
    }
  }
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

/** A document, or a line that is none. */
type Document =
  { readonly name: string; readonly judgeable: Judgeable } | { readonly name: string; readonly problem: string };

/** Whether it is worth while to read it when records are looked for: reading all twice would take twice as long. */
function maybeRecord(text: string): boolean {
  return text.includes('"verdicts"');
}

/** The documents of a file; a line that is none is told of, and the next one read. */
async function* documentsOf(file: string, shown: string, pass: Pass): AsyncGenerator<Document> {
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
        yield { name: `${shown}:${number}`, problem: read.problem };
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
