import { z } from 'zod';
import { Environment, objectionOf, shown, SlipwayFile } from './slipway-schema.js';
import type { YamlPath, YamlSource } from './yaml-source.js';

/** So many problems of a file are told; nobody reads more. */
export const ENOUGH_PROBLEMS = 100;

/** One thing in a file that is wrong, or that deserves a second look. */
export interface Problem {
  /** Such as `environments.local.stages[1].weight`; empty for the file as a whole. */
  readonly path: string;
  /** 1-based; 0 where the problem has no place in the file. */
  readonly line: number;
  /** 1-based; 0 where the problem has no place in the file. */
  readonly column: number;
  /** The path and what is wrong there, with the value. */
  readonly message: string;
  /** What to write instead. */
  readonly remedy: string;
}

/**
 * Problems for a terminal: `slipway.yaml:12:5: …`, the line with a caret under the place, and what to do.
 *
 * @param text the file's text, as it was parsed
 */
export function formatProblems(problems: readonly Problem[], fileName: string, text: string): string {
  const lines = text.split(/\r\n|\n|\r/);
  return problems.map((problem) => formatProblem(problem, fileName, lines[problem.line - 1])).join('\n');
}

function formatProblem(
  { line, column, message, remedy }: Problem,
  fileName: string,
  source: string | undefined,
): string {
  const place = line === 0 ? fileName : `${fileName}:${line}:${column}`;
  const said = [`${place}: ${message}`];
  if (source !== undefined && source.trim() !== '') {
    const from = Math.max(0, column - 1 - 60);
    const part = printable(source.slice(from, from + 110));
    const before = printable(source.slice(from, column - 1)).replace(/[^\t]/g, ' ');
    said.push(`    ${part}`, `    ${before}^`);
  }
  said.push(`  → ${remedy}`);
  return said.join('\n');
}

/** A file can't send commands to the terminal that shows its problems. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, '\ufffd');
}

export function fileProblem(message: string, remedy: string): Problem {
  return { path: '', line: 1, column: 1, message, remedy };
}

/** In the order of the file, once each, no more than anyone reads, and harmless to show. */
export function inOrder(problems: readonly Problem[]): readonly Problem[] {
  const once = new Map(problems.map((problem) => [`${problem.line}:${problem.column}:${problem.message}`, problem]));
  return [...once.values()]
    .sort((one, other) => one.line - other.line || one.column - other.column)
    .slice(0, ENOUGH_PROBLEMS)
    .map((problem) => ({
      ...problem,
      path: printable(problem.path),
      message: printable(problem.message),
      remedy: printable(problem.remedy),
    }));
}

// ---------------------------------------------------------------------------------------------------------------------
// From zod's issues to problems

export function problemsOf(
  issue: z.core.$ZodIssue,
  file: unknown,
  source: YamlSource,
  root: z.core.$ZodType = SlipwayFile,
): readonly Problem[] {
  const path = issue.path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
  const value = valueAt(file, path);
  const problem = (what: string, remedy: string, part: 'key' | 'value' = 'value', at: YamlPath = path): Problem => {
    const name = pathText(at);
    return { path: name, ...source.locate(at, part), message: `${name === '' ? 'the file' : name}: ${what}`, remedy };
  };
  if (issue.code === 'unrecognized_keys') {
    return issue.keys
      .slice(0, ENOUGH_PROBLEMS)
      .map((key) => problem('is not a known key', unknownKeyRemedy(key, path, root), 'key', [...path, key]));
  }
  if (issue.code === 'invalid_key') {
    const remedy = `use ${issue.issues[0]?.message ?? 'other characters'}`;
    return [problem(`${shown(String(path.at(-1)))} is not accepted as a name`, remedy, 'key')];
  }
  if (value === undefined) return [problem('is missing', missingRemedy(path), 'key')];
  if (value === null)
    return [problem('has no value', 'give it one ({} for an empty mapping), or remove the line', 'key')];
  const own = objectionOf(issue.message);
  if (own !== null) return [problem(own.what, own.remedy)];
  if (issue.code === 'invalid_union') {
    return chosenBranch(issue.errors).flatMap((inner) =>
      problemsOf({ ...inner, path: [...issue.path, ...inner.path] }, file, source),
    );
  }
  if (issue.code === 'invalid_type') {
    return [problem(`${shown(value)} is not ${wanted(issue.expected)}`, typeRemedy(issue.expected, path, source))];
  }
  if (issue.code === 'invalid_value') {
    return [problem(`${shown(value)} is not known`, choiceRemedy(String(value), issue.values.map(String)))];
  }
  if (issue.code === 'too_big') return [problem(`${shown(value)} is too long`, `make it ${issue.maximum} at most`)];
  if (issue.code === 'too_small')
    return [problem('the text is empty', 'write what the key is for, or remove the line')];
  return [problem(`${shown(value)} is not accepted`, `use ${issue.message}`)];
}

function choiceRemedy(value: string, known: readonly string[]): string {
  if (known.length === 1) return `write ${known.join()}`;
  const near = nearest(value, known);
  return `${near === null ? 'write' : `did you mean ${near}? Write`} one of: ${known.join(', ')}`;
}

/** Of the shapes that a value may have, the one that was meant: whose kind is right, or which can explain itself. */
function chosenBranch(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] {
  const rightKind = branches.find((issues) =>
    issues.every(({ path, code }) => path.length > 0 || (code !== 'invalid_type' && code !== 'invalid_value')),
  );
  return (
    rightKind ?? branches.find((issues) => issues.some(({ message }) => objectionOf(message))) ?? branches[0] ?? []
  );
}

function wanted(expected: string): string {
  const words: Readonly<Record<string, string>> = {
    object: 'a mapping',
    record: 'a mapping',
    array: 'a list',
    string: 'text',
    number: 'a number',
    boolean: 'true or false',
  };
  return words[expected] ?? expected;
}

function typeRemedy(expected: string, path: YamlPath, source: YamlSource): string {
  const written = source.written(path);
  if (expected === 'string' && written !== null) return `put it in quotes: '${written}'`;
  if (expected === 'array') return written === null ? 'write a list: [a, b]' : `write a list: [${written}]`;
  if (expected === 'object' || expected === 'record') return 'write keys and values, one to a line, indented';
  if (expected === 'boolean') return 'write true or false, without quotes';
  return `write ${wanted(expected)}`;
}

function missingRemedy(path: YamlPath): string {
  const key = String(path.at(-1));
  const examples: Readonly<Record<string, string>> = {
    service: 'service: hello',
    environments: 'environments: { local: { platform: local, run: { command: [node, server.mjs] } } }',
    weight: 'weight: 10%',
    prometheus: 'prometheus: http://prometheus:9090',
  };
  return `add it${examples[key] === undefined ? '' : `, for example ${examples[key]}`}`;
}

function unknownKeyRemedy(key: string, parent: YamlPath, root: z.core.$ZodType): string {
  const here = schemasAt(parent, root).flatMap(keysOf);
  const near = nearest(key, here);
  if (near !== null) return `did you mean ${near}?`;
  const elsewhere = root === SlipwayFile ? placesOf(key, Environment) : [];
  if (elsewhere.length > 0) return `${key} belongs under ${elsewhere.slice(0, 3).join(' or ')}`;
  return here.length === 0 ? 'remove it' : `known keys here: ${here.join(', ')}`;
}

/** The schemas that a value at this path may have. */
function schemasAt(path: YamlPath, root: z.core.$ZodType): readonly z.core.$ZodType[] {
  let schemas: readonly z.core.$ZodType[] = [root];
  for (const segment of path) {
    schemas = schemas.flatMap(shapes).flatMap((schema): readonly z.core.$ZodType[] => {
      if (schema instanceof z.ZodObject) {
        const next = (schema.shape as Readonly<Record<string, z.core.$ZodType>>)[segment];
        return next === undefined ? [] : [next];
      }
      if (schema instanceof z.ZodRecord) return [schema.valueType];
      return schema instanceof z.ZodArray ? [schema.element] : [];
    });
  }
  return schemas.flatMap(shapes);
}

/** What is left of a schema without `optional`, transforms and alternatives. */
function shapes(schema: z.core.$ZodType): readonly z.core.$ZodType[] {
  if (schema instanceof z.ZodOptional) return shapes(schema.unwrap());
  if (schema instanceof z.ZodPipe) return shapes(schema.in);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(shapes);
  return [schema];
}

function keysOf(schema: z.core.$ZodType): readonly string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** The mappings under this schema in which a key is known, as paths. */
function placesOf(key: string, schema: z.core.$ZodType, prefix: readonly string[] = []): readonly string[] {
  return shapes(schema).flatMap((shape) => {
    if (!(shape instanceof z.ZodObject)) return [];
    const here = prefix.length > 0 && Object.hasOwn(shape.shape, key) ? [prefix.join('.')] : [];
    const below = Object.entries(shape.shape).flatMap(([name, inner]) =>
      placesOf(key, inner as z.core.$ZodType, [...prefix, name]),
    );
    return [...here, ...below];
  });
}

export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function valueAt(value: unknown, path: YamlPath): unknown {
  let found = value;
  for (const segment of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, segment)) return undefined;
    found = (found as Readonly<Record<string, unknown>>)[segment];
  }
  return found;
}

export function pathText(path: YamlPath): string {
  return path.reduce<string>((text, segment) => {
    if (typeof segment === 'number') return `${text}[${segment}]`;
    return text === '' ? segment : `${text}.${segment}`;
  }, '');
}

/** The word that was probably meant; null when none is near. `when_busy` is near to `whenBusy`. */
export function nearest(word: string, known: readonly string[]): string | null {
  const plain = (text: string): string => text.replace(/[-_\s]/g, '').toLowerCase();
  let best: { readonly word: string; readonly distance: number } | null = null;
  for (const candidate of known) {
    const distance = editDistance(plain(word).slice(0, 40), plain(candidate));
    const limit = Math.floor(candidate.length / 3);
    if (distance <= limit && distance < (best?.distance ?? Infinity)) best = { word: candidate, distance };
  }
  return best?.word ?? null;
}

/** Letters to add, remove or replace to make one text of another. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [i, letter] of one.split('').entries()) {
    const next = [i + 1];
    for (const [j, wantedLetter] of other.split('').entries()) {
      const replaced = (row[j] ?? 0) + (letter === wantedLetter ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
