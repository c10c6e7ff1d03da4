import { isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, parseDocument, Parser, visit } from 'yaml';
import type { Document, Node, ParsedNode, YAMLError, YAMLMap } from 'yaml';

/** A path of keys and list indices from the root of a document. */
export type YamlPath = readonly (string | number)[];

/** A place in the text, both 1-based. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** Something wrong with the text as YAML. */
export interface YamlFault extends Place {
  readonly message: string;
  readonly remedy: string;
}

/** A document that could be read, and where in the text each of its values stands. */
export interface YamlSource {
  readonly value: unknown;
  readonly warnings: readonly YamlFault[];
  /** Whether something is written at this path, by itself or through an alias or a merge key. */
  has(path: YamlPath): boolean;
  /** Where the key (or the value) at this path stands; of what is not there, the nearest parent's key. */
  locate(path: YamlPath, part: 'key' | 'value'): Place;
  /** The scalar at this path as it stands in the text, so that `1.10` is not shown as 1.1; null for all else. */
  written(path: YamlPath): string | null;
}

export type YamlReading =
  { readonly ok: true; readonly source: YamlSource } | { readonly ok: false; readonly faults: readonly YamlFault[] };

/** Deeper nesting is refused before it is parsed: the parser recurses, and a full stack ends the process. */
const MAX_DEPTH = 100;

/** What helps against the parser's errors, by their code. */
const REMEDIES: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'indent with spaces',
  BAD_INDENT: 'indent the lines of a block alike, with spaces, and close every [ and {',
  BLOCK_AS_IMPLICIT_KEY: 'put a value that contains ": " in quotes, and keys of a block on lines of their own',
  MULTILINE_IMPLICIT_KEY: 'indent this line like the keys beside it, or put a value of several lines in quotes',
  BAD_SCALAR_START: 'put the value in quotes',
  BAD_DQ_ESCAPE: 'use single quotes, in which a backslash is just a backslash',
  BAD_ALIAS: 'define the anchor (&name) before the alias (*name) that uses it',
  MISSING_CHAR: 'close the quote or bracket that is open here, or add what is missing',
  UNEXPECTED_TOKEN: 'check the indentation, and quotes and brackets of the lines before',
  TAG_RESOLVE_FAILED: 'remove the tag: plain YAML is enough',
  NON_STRING_KEY: 'use plain text as a key',
};

/**
 * Reads one YAML 1.2 document with aliases and merge keys. It never throws: everything wrong is a fault with its place.
 */
export function readYaml(text: string): YamlReading {
  const deep = tooDeep(text);
  if (deep !== null) return { ok: false, faults: [deep] };
  const lines = new LineCounter();
  const fault: FaultAt = (offset, message, remedy) => ({ ...placeAt(lines, offset), message, remedy });
  const doc = parseDocument(text, {
    lineCounter: lines,
    merge: true,
    prettyErrors: false,
    stringKeys: true,
    // Checked below: the parser's own check takes quadratic time.
    uniqueKeys: false,
  });
  const spoken = ({ code, message, pos }: YAMLError): YamlFault => {
    if (code === 'MULTIPLE_DOCS') {
      return fault(pos[0], 'a second document begins here', 'keep one document: a file describes one service');
    }
    return fault(pos[0], uncapitalised(message), REMEDIES[code] ?? 'correct the YAML here');
  };
  const faults = [...doc.errors.map(spoken), ...structuralFaults(doc, fault)];
  if (doc.directives?.yaml.explicit === true && doc.directives.yaml.version !== '1.2') {
    const version = doc.directives.yaml.version;
    faults.push(fault(0, `%YAML ${version} is not supported`, 'remove the line: the file is read as YAML 1.2'));
  }
  if (faults.length > 0) return { ok: false, faults: firstOfEachLine(faults) };
  try {
    const value: unknown = doc.toJS();
    return { ok: true, source: sourceOf(doc, value, doc.warnings.map(spoken), lines) };
  } catch (error) {
    // What is left: aliases that multiply without bounds, or that contain themselves.
    const message = uncapitalised(error instanceof Error ? error.message : String(error));
    return { ok: false, faults: [fault(0, message, 'write the values out instead of using aliases')] };
  }
}

type FaultAt = (offset: number, message: string, remedy: string) => YamlFault;

function placeAt(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** Where the text is nested too deeply, told by the parts of the parser that do not recurse. */
function tooDeep(text: string): YamlFault | null {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) void token;
    if (parser.stack.length > MAX_DEPTH) {
      const message = 'this is nested too deeply';
      return { ...placeAt(lines, parser.offset), message, remedy: 'write it with fewer levels: six are enough' };
    }
  }
  return null;
}

/** Keys that are given twice, aliases without an anchor, merge keys with something to merge that is no mapping. */
function structuralFaults(doc: Document.Parsed<ParsedNode>, fault: FaultAt): readonly YamlFault[] {
  const faults: YamlFault[] = [];
  visit(doc, {
    Alias: (_, alias) => {
      if (alias.resolve(doc) !== undefined) return;
      faults.push(fault(offsetOf(alias), `there is no anchor &${alias.source} before this`, REMEDIES.BAD_ALIAS ?? ''));
    },
    Map: (_, map) => {
      const seen = new Map<string, number>();
      for (const { key, value } of map.items) {
        const name = isScalar(key) ? String(key.value) : '';
        if (name === '<<') {
          const sources = isSeq(value) ? value.items : [value];
          const wrong = sources.find((item) => !isMap(isAlias(item) ? item.resolve(doc) : item));
          if (wrong === undefined) continue;
          const at = offsetOf(wrong ?? key);
          faults.push(fault(at, '<< can merge mappings only', 'name an anchor of a mapping: <<: *name'));
          continue;
        }
        const before = seen.get(name);
        const at = offsetOf(key);
        if (before === undefined) seen.set(name, at);
        else {
          const { line } = fault(before, '', '');
          faults.push(fault(at, `${name} is given twice, first in line ${line}`, 'keep one of the two'));
        }
      }
    },
  });
  return faults;
}

function sourceOf(
  doc: Document.Parsed<ParsedNode>,
  value: unknown,
  warnings: readonly YamlFault[],
  lines: LineCounter,
): YamlSource {
  const find = (path: YamlPath): { readonly key: unknown; readonly value: unknown } | null => {
    let found: { readonly key: unknown; readonly value: unknown } = { key: doc.contents, value: doc.contents };
    for (const segment of path) {
      const next = child(doc, found.value, segment);
      if (next === null) return null;
      found = next;
    }
    return found;
  };
  return {
    value,
    warnings,
    has: (path) => find(path) !== null,
    locate(path, part) {
      for (let length = path.length; length >= 0; length--) {
        const found = find(path.slice(0, length));
        if (found === null) continue;
        const node = part === 'value' && length === path.length ? (found.value ?? found.key) : found.key;
        return placeAt(lines, offsetOf(node));
      }
      return { line: 1, column: 1 };
    },
    written(path) {
      const node = resolved(doc, find(path)?.value);
      return isScalar(node) ? (node.source ?? null) : null;
    },
  };
}

/** The key's and the value's node of one step of a path, through aliases and merge keys. */
function child(
  doc: Document.Parsed<ParsedNode>,
  parent: unknown,
  segment: string | number,
): { readonly key: unknown; readonly value: unknown } | null {
  const node = resolved(doc, parent);
  if (isSeq(node)) {
    const item = typeof segment === 'number' ? node.items[segment] : undefined;
    return item === undefined ? null : { key: item, value: item };
  }
  if (!isMap(node)) return null;
  const named = (name: string) => node.items.find(({ key }) => isScalar(key) && String(key.value) === name);
  const pair = named(String(segment));
  if (pair !== undefined) return { key: pair.key, value: pair.value };
  const merged = named('<<')?.value;
  for (const source of isSeq(merged) ? merged.items : [merged]) {
    const found = resolved(doc, source) === node ? null : child(doc, source, segment);
    if (found !== null) return found;
  }
  return null;
}

function resolved(doc: Document.Parsed<ParsedNode>, node: unknown): Node | YAMLMap | undefined {
  return isAlias(node) ? node.resolve(doc) : (node as Node | undefined);
}

function offsetOf(node: unknown): number {
  return (node as Node | null)?.range?.[0] ?? 0;
}

/** One mistake often gives several errors in a line; the first says it best. */
function firstOfEachLine(faults: readonly YamlFault[]): readonly YamlFault[] {
  const byLine = new Map<number, YamlFault>();
  for (const fault of faults) if (!byLine.has(fault.line)) byLine.set(fault.line, fault);
  return [...byLine.values()].sort((one, other) => one.line - other.line);
}

function uncapitalised(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}
