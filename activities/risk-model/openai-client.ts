import { retryAfterMs } from '../retry-after.js';
import { RISK_PROMPT_VERSION } from './prompt.js';
import type { Prompt } from './prompt.js';
import { WireAnswer } from './answer.js';

/** An honest answer has some kilobytes; the SDK itself reads whatever comes. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** Reasoning counts: too low a limit gives an empty answer (evidence-notes, section 2). */
const MAX_OUTPUT_TOKENS = 8000;
const DEFAULT_BASE_URL = 'https://api.openai.com/v1';

export interface OpenAiOptions {
  readonly apiKey: string;
  readonly baseUrl: string | null;
  readonly model: string;
  readonly timeoutMs: number;
}

export type Attempt =
  | { readonly kind: 'body'; readonly body: unknown }
  /** `retryAfterMs`: how long the server asks to wait, 0 where it says nothing, null where another try is no use. */
  | { readonly kind: 'failed'; readonly reason: string; readonly retryAfterMs: number | null };

/** One call. Throws nothing: what goes wrong is an outcome, and its reason never holds the server's words. */
export type Ask = (prompt: Prompt, signal: AbortSignal) => Promise<Attempt>;

/** An answer that is not worth reading, or too large to. */
class UnusableAnswer extends Error {
  override readonly name = 'UnusableAnswer';
}

/** The SDK is loaded with the first call, so that workers start fast and those without a key never pay for it. */
export function createOpenAi(options: OpenAiOptions): Ask {
  let loading: Promise<Ask> | null = null;
  return async (prompt, signal) => {
    try {
      loading ??= load(options);
      return await (
        await loading
      )(prompt, signal);
    } catch {
      loading = null;
      return { kind: 'failed', reason: "the model's client could not be set up", retryAfterMs: null };
    }
  };
}

async function load({ apiKey, baseUrl, model, timeoutMs }: OpenAiOptions): Promise<Ask> {
  const { OpenAI, APIConnectionError, APIConnectionTimeoutError, APIError } = await import('openai');
  const { zodResponseFormat } = await import('openai/helpers/zod');
  // All that the SDK would otherwise read from the environment by itself is given, except OPENAI_CUSTOM_HEADERS, for
  // which it has no option. Its debug log prints prompts.
  const client = new OpenAI({
    apiKey,
    baseURL: baseUrl ?? DEFAULT_BASE_URL,
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    logLevel: 'off',
    maxRetries: 0,
    timeout: timeoutMs,
    fetch: carefulFetch,
  });
  const format = zodResponseFormat(WireAnswer, `risk_v${RISK_PROMPT_VERSION}`);

  function failureOf(error: unknown): Attempt {
    const cause = error instanceof APIConnectionError ? error.cause : error;
    if (cause instanceof UnusableAnswer) return failed(cause.message);
    if (error instanceof APIConnectionTimeoutError) return failed("the model's server did not answer in time", 0);
    if (error instanceof APIConnectionError) return failed("the model's server can't be reached", 0);
    if (error instanceof APIError && error.status !== undefined) {
      const code = codeOf(error.code);
      const reason = `the model's server answered ${error.status}${code === null ? '' : ` (${code})`}`;
      // 429 also says that the money is gone; waiting does not bring it back.
      const passes = [408, 409, 429].includes(error.status) || error.status >= 500;
      return failed(reason, passes && code !== 'insufficient_quota' ? retryAfterMs(error.headers) : null);
    }
    if (error instanceof SyntaxError) return failed('the answer is not JSON');
    // What is left of fetch: `TypeError: terminated`, a body that ended early.
    return failed('the connection broke during the answer', 0);
  }

  return async ({ system, user }, signal) => {
    try {
      // `create`, not `parse`: that one throws for some useless answers and returns others, see evidence-notes.
      const body: unknown = await client.chat.completions.create(
        {
          model,
          messages: [
            { role: 'system', content: system },
            { role: 'user', content: user },
          ],
          response_format: format,
          max_completion_tokens: MAX_OUTPUT_TOKENS,
          store: false,
        },
        // The SDK's own timeout ends with the headers (openai-node #1825); the signal covers the body too.
        { signal },
      );
      return { kind: 'body', body };
    } catch (error) {
      return failureOf(error);
    }
  };
}

/** `fetch` that follows no redirect with the prompt and the key, and reads JSON of a sane size only. */
async function carefulFetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const response = await fetch(input, { ...init, redirect: 'manual' });
  const { body, ok, status, statusText, headers } = response;
  if (ok && !/^application\/([\w.-]+\+)?json\b/i.test(headers.get('content-type') ?? '')) {
    await body?.cancel();
    throw new UnusableAnswer('the answer is not JSON');
  }
  if (body === null) return response;
  let size = 0;
  const capped = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.byteLength;
      if (size > MAX_ANSWER_BYTES) controller.error(new UnusableAnswer('the answer is too large'));
      else controller.enqueue(chunk);
    },
  });
  return new Response(body.pipeThrough(capped), { status, statusText, headers });
}

/** The server's code, if it is one: any other text from there might hold anything. */
function codeOf(code: unknown): string | null {
  return typeof code === 'string' && /^[a-z_]{1,40}$/.test(code) ? code : null;
}

function failed(reason: string, retryAfter: number | null = null): Attempt {
  return { kind: 'failed', reason, retryAfterMs: retryAfter };
}
