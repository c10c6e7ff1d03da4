import { mannWhitney, mannWhitneyProblem } from '../../domain/canary/mann-whitney.js';
import { parseMannWhitneyQuestion } from '../../formats/mann-whitney.js';
import type { CliContext, CommandResult } from './context.js';
import { answerLines } from './jsonl.js';

/** `slipway stats mann-whitney --jsonl`: one test a line in, one result a line out. */
export async function statsMannWhitney(context: CliContext): Promise<CommandResult> {
  return answerLines(context, (document) => {
    const question = parseMannWhitneyQuestion(document);
    if ('problem' in question) return question;
    const problem = mannWhitneyProblem(question);
    return problem === null ? { answer: mannWhitney(question) } : { problem: problem.message };
  });
}
