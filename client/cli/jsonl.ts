import { parseJsonLine } from '../../formats/jsonl.js';
import { done } from './context.js';
import type { CliContext, CommandResult } from './context.js';

/** A line longer than this is refused, not read: memory stays flat whatever comes in. */
const MAX_LINE_CHARACTERS = 64 * 1024 * 1024;
/** What a shell makes of a program that Ctrl-C ended. */
const INTERRUPTED = 130;

/** The answer to one line, or why there is none. */
export type LineAnswer = { readonly answer: object } | { readonly problem: string };

/**
 * Answers each line of standard input with one line on standard output, in order, and holds no more than one of either:
 * the next line is read when the answer was taken. An `id` is handed back first. A line that can't be answered gives
 * `{id?, error}` with its number; empty lines are passed over. It ends with the input, or when nobody reads the answers.
 */
export async function answerLines(
  context: CliContext,
  answerTo: (document: unknown) => LineAnswer,
): Promise<CommandResult> {
  const stop = () => context.input.destroy();
  context.signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const { number, text } of linesOf(context.input)) {
      const answer = answerLine(number, text, answerTo);
      if (answer !== null && !(await context.write(`${JSON.stringify(answer)}\n`))) break;
    }
  } catch (error) {
    // Whatever the stream says of being destroyed, it was Ctrl-C.
    if (!context.signal.aborted) throw error;
  } finally {
    context.signal.removeEventListener('abort', stop);
  }
  return done(null, context.signal.aborted ? INTERRUPTED : undefined);
}

function answerLine(number: number, text: string | null, answerTo: (document: unknown) => LineAnswer): object | null {
  if (text === null) return { error: `line ${number}: longer than ${MAX_LINE_CHARACTERS} characters` };
  if (text.trim() === '') return null;
  const line = parseJsonLine(text);
  if (!line.ok) return { error: `line ${number}: ${line.problem}` };
  const { value } = line;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { error: `line ${number}: not an object` };
  const id = 'id' in value ? { id: value.id } : {};
  const said = answerTo(value);
  return 'problem' in said ? { ...id, error: `line ${number}: ${said.problem}` } : { ...id, ...said.answer };
}

/** A line of the input, counted from 1; `null` in place of one that is too long. */
interface Line {
  readonly number: number;
  readonly text: string | null;
}

/** The lines of a text that comes in pieces; each is held by itself. */
export async function* linesOf(input: AsyncIterable<string>): AsyncGenerator<Line> {
  let number = 1;
  let parts: string[] = [];
  let length = 0;
  function take(part: string): void {
    length += part.length;
    if (length > MAX_LINE_CHARACTERS) parts = [];
    else parts.push(part);
  }
  function finish(): Line {
    const text = length > MAX_LINE_CHARACTERS ? null : parts.join('');
    parts = [];
    length = 0;
    // Some programs begin a file with a byte order mark.
    return { number: number++, text: number === 2 ? (text?.replace(/^\uFEFF/, '') ?? null) : text };
  }
  for await (const chunk of input) {
    const pieces = chunk.split('\n');
    for (const [i, piece] of pieces.entries()) {
      take(piece);
      if (i < pieces.length - 1) yield finish();
    }
  }
  if (length > 0) yield finish();
}
