import { z } from 'zod';
import type { MannWhitneyInput } from '../domain/canary/mann-whitney.js';
import { firstProblem } from './jsonl.js';

/** What was not measured may be there as text, as JSON has no NaN: the test then says which value it refuses. */
const Sample = z.array(
  z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity']).transform(Number)], { error: 'not a finite number' }),
);

/** A question to the Mann-Whitney test. Other keys, such as an id or notes, are allowed. */
const Question = z.object({
  x: Sample,
  y: Sample,
  alternative: z.enum(['two-sided', 'less', 'greater']).default('two-sided'),
  method: z.enum(['auto', 'exact', 'asymptotic']).default('auto'),
});

/** Reads a question, or says what is wrong with it. */
export function parseMannWhitneyQuestion(document: unknown): MannWhitneyInput | { readonly problem: string } {
  const read = Question.safeParse(document);
  return read.success ? read.data : { problem: firstProblem(read.error) };
}
