import { z } from 'zod';
import { STRATEGIES } from '../../domain/policy.js';
import type { ModelOpinion } from '../../domain/risk.js';
import { redactSecrets } from '../../domain/redact.js';
import { visible } from './visible.js';

/**
 * The form of the answer, as the server is told it. Flat and without bounds: servers differ in which bounds they know,
 * and some refuse a schema that holds one (evidence-notes, section 2).
 */
export const WireAnswer = z.strictObject({
  score: z.number(),
  strategy: z.enum(STRATEGIES),
  approval: z.boolean(),
  factors: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
  summary: z.string(),
});

/** The same with its bounds. A longer text than asked for is cut below; one beyond these limits is no answer. */
const BoundedAnswer = WireAnswer.extend({
  score: z.number().min(0).max(1),
  factors: z.array(z.strictObject({ name: z.string().max(2000), reason: z.string().max(4000) })).max(50),
  summary: z.string().max(8000),
});

/** The part of a chat completion that is read. Compatible servers leave much of it out. */
const Completion = z.object({
  model: z.string().optional(),
  choices: z.array(
    z.object({
      finish_reason: z.string().nullish(),
      message: z.object({ content: z.string().nullish(), refusal: z.string().nullish() }),
    }),
  ),
  usage: z
    .object({ prompt_tokens: z.int().min(0), completion_tokens: z.int().min(0) })
    .nullish()
    .catch(null),
});

const MAX_FACTORS = 8;

type Opinion = Extract<ModelOpinion, { kind: 'answered' }> | { readonly kind: 'failed'; readonly reason: string };

/** An opinion from the body of a chat completion, or why there is none. Reasons never hold the server's words. */
export function readCompletion(body: unknown, configuredModel: string): Opinion {
  const completion = Completion.safeParse(body);
  if (!completion.success) return failed('the answer is not a chat completion');
  const { model, choices, usage } = completion.data;
  const choice = choices[0];
  if (choice === undefined) return failed('the answer holds no choice');
  const { content, refusal } = choice.message;
  if (refusal != null && refusal !== '') return failed('the model refused to answer');
  const end = choice.finish_reason ?? 'stop';
  if (end === 'length') return failed('the answer was cut at its length limit');
  if (end === 'content_filter') return failed('the answer was withheld by a content filter');
  if (end !== 'stop') return failed('the model ended without an answer');
  if (content == null || content.trim() === '') return failed('the answer is empty');

  let value: unknown;
  try {
    value = JSON.parse(withoutFence(content));
  } catch {
    return failed("the model's answer is not JSON");
  }
  const answer = BoundedAnswer.safeParse(value);
  if (!answer.success) {
    const where = answer.error.issues[0]?.path.join('.') ?? '';
    return failed(`the model's answer has not the form asked for${where === '' ? '' : `: ${where}`}`);
  }
  const { score, strategy, approval, factors, summary } = answer.data;
  return {
    kind: 'answered',
    model: model === undefined || model === '' ? configuredModel : display(model, 100),
    score,
    strategy,
    approval,
    factors: factors
      .slice(0, MAX_FACTORS)
      .map(({ name, reason }) => ({ name: display(name, 60), reason: display(reason, 300) })),
    summary: display(summary, 600),
    ...(usage == null ? {} : { inputTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens }),
  };
}

/** Models without structured output like to put their JSON into one code fence. Nothing is fished out of prose. */
function withoutFence(content: string): string {
  const text = content.trim();
  if (!text.startsWith('```') || !text.endsWith('```') || !text.includes('\n')) return text;
  return text.slice(text.indexOf('\n') + 1, -3);
}

/** A model's words are, at one remove, those of the change's author: one line, nothing hidden, no secrets, cut. */
function display(text: string, maxLength: number): string {
  const line = redactSecrets(visible(text)).replace(/\s+/g, ' ').trim();
  return line.length > maxLength ? `${line.slice(0, maxLength - 1).replace(/[\uD800-\uDBFF]$/, '')}…` : line;
}

function failed(reason: string): Opinion {
  return { kind: 'failed', reason };
}
