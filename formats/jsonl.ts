import type { z } from 'zod';

/** One line of JSON Lines, read. */
export type JsonLine =
  { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string };

/**
 * Reads one line. NaN and Infinity are no JSON, but Python and others write them bare: they are read as text, so that
 * whoever asks can be told which of the values it is.
 */
export function parseJsonLine(text: string): JsonLine {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    const quoted = text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (found) =>
      found.startsWith('"') ? found : `"${found}"`,
    );
    if (quoted !== text) {
      try {
        return { ok: true, value: JSON.parse(quoted) };
      } catch {
        // It is wrong in other ways too: what was said of the line as it stands is told.
      }
    }
    return { ok: false, problem: `not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** The first thing that is wrong with a document, in one line, with the place where it is. */
export function firstProblem(error: z.ZodError): string {
  const [issue] = error.issues;
  if (issue === undefined) return 'not understood';
  const place = issue.path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('');
  return place === '' ? issue.message : `${place.replace(/^\./, '')}: ${issue.message}`;
}
