import type { z } from 'zod';
import { ENOUGH_PROBLEMS, fileProblem, inOrder, problemsOf } from './yaml-problems.js';
import type { Problem } from './yaml-problems.js';
import { readYaml } from './yaml-source.js';
import type { YamlSource } from './yaml-source.js';

/** Larger files are refused unread. */
const MAX_FILE_BYTES = 256 * 1024;

type Unreadable = { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads the YAML of a file, whatever it says. Never throws for any text. */
export function readYamlFile(
  text: string,
  fileName: string,
): { readonly ok: true; readonly source: YamlSource } | Unreadable {
  // A text has at least as many bytes as characters: one that is far too long is not encoded.
  if (text.length > MAX_FILE_BYTES || new TextEncoder().encode(text).length > MAX_FILE_BYTES) {
    const message = `${fileName} has more than ${MAX_FILE_BYTES / 1024} KB`;
    return { ok: false, problems: [fileProblem(message, 'is it the right file? A few KB are enough')] };
  }
  const yaml = readYaml(text);
  if (yaml.ok) return yaml;
  return { ok: false, problems: inOrder(yaml.faults.map((fault) => ({ path: '', ...fault }))) };
}

/** Reads a YAML file by its schema: all its problems at once, each with its place, value and remedy. */
export function parseYamlAs<Schema extends z.ZodType>(
  text: string,
  fileName: string,
  schema: Schema,
): { readonly ok: true; readonly value: z.infer<Schema>; readonly source: YamlSource } | Unreadable {
  const yaml = readYamlFile(text, fileName);
  if (!yaml.ok) return yaml;
  const { source } = yaml;
  const written: unknown = source.value ?? {};
  const read = schema.safeParse(written);
  if (read.success) return { ok: true, value: read.data, source };
  const issues = read.error.issues.slice(0, ENOUGH_PROBLEMS);
  return { ok: false, problems: inOrder(issues.flatMap((issue) => problemsOf(issue, written, source, schema))) };
}
