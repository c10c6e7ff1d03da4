import { setTimeout as sleep } from 'node:timers/promises';
import type { Change } from '../../domain/release.js';
import type { ModelOpinion, Risk } from '../../domain/risk.js';
import { readCompletion } from './answer.js';
import { createOpenAi } from './openai-client.js';
import { promptFor, RISK_PROMPT_VERSION } from './prompt.js';

export interface RiskQuestion {
  readonly service: string;
  readonly environment: string;
  readonly tier: number;
  readonly change: Change;
  /** What the rules say. The model may ask for more care, and does not count where it asks for less. */
  readonly floor: Risk;
}

/** Asks a language model what it thinks of a change. */
export interface RiskModel {
  /**
   * Whatever is wrong with the model is an opinion of kind `failed`, with a reason that holds no secret.
   * Throws only the reason of `signal`, once that is aborted.
   */
  assess(question: RiskQuestion, signal: AbortSignal): Promise<ModelOpinion>;
}

export interface RiskModelOptions {
  /** Null: nothing is asked, every opinion is `failed`. */
  readonly apiKey: string | null;
  /** Of an OpenAI-compatible API, with its `/v1`; null: OpenAI's own. */
  readonly baseUrl: string | null;
  readonly model: string;
  /** Limit of an assessment from the question to the last byte, retries included. */
  readonly timeoutMs: number;
  /** Limit of calls in any 60 minutes, retries included, for this worker. */
  readonly maxCallsPerHour: number;
  /** Milliseconds that only rise. For tests. */
  readonly now?: () => number;
}

const HOUR_MS = 3_600_000;
const RETRIES = 2;
const FIRST_PAUSE_MS = 250;

export function createRiskModel(options: RiskModelOptions): RiskModel {
  const { apiKey, model, timeoutMs, maxCallsPerHour, now = () => performance.now() } = options;
  const budget = hourlyBudget(maxCallsPerHour, now);
  if (apiKey === null) {
    return {
      assess: async (_, signal) => {
        signal.throwIfAborted();
        return failed('no API key is set for the model');
      },
    };
  }
  const ask = createOpenAi({ ...options, apiKey });

  return {
    async assess(question, signal) {
      signal.throwIfAborted();
      const startedMs = performance.now();
      const elapsedMs = (): number => performance.now() - startedMs;
      const deadline = AbortSignal.timeout(timeoutMs);
      const either = AbortSignal.any([signal, deadline]);
      const prompt = promptFor(question);
      for (let attempt = 0; ; attempt += 1) {
        if (!budget.take()) return failed(`the model's budget of ${maxCallsPerHour} calls an hour is used up`);
        const result = await ask(prompt, either);
        signal.throwIfAborted();
        if (result.kind === 'body') {
          const opinion = readCompletion(result.body, model);
          if (opinion.kind === 'failed') return opinion;
          return { ...opinion, promptVersion: RISK_PROMPT_VERSION, latencyMs: Math.round(elapsedMs()) };
        }
        if (deadline.aborted) return failed(`the model did not answer within ${timeoutMs} ms`);
        if (result.retryAfterMs === null) return failed(result.reason);
        const pauseMs = Math.max(result.retryAfterMs, FIRST_PAUSE_MS * 2 ** attempt);
        if (attempt === RETRIES || elapsedMs() + pauseMs >= timeoutMs) {
          return failed(`${result.reason}, in ${attempt === 0 ? '1 attempt' : `${attempt + 1} attempts`}`);
        }
        await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    },
  };
}

/** Calls of the last 60 minutes, kept in memory: a worker that starts again starts with all of it. */
function hourlyBudget(max: number, now: () => number): { readonly take: () => boolean } {
  let takenAtMs: readonly number[] = [];
  return {
    take() {
      const nowMs = now();
      takenAtMs = takenAtMs.filter((atMs) => nowMs - atMs < HOUR_MS);
      if (takenAtMs.length >= max) return false;
      takenAtMs = [...takenAtMs, nowMs];
      return true;
    },
  };
}

function failed(reason: string): ModelOpinion {
  return { kind: 'failed', reason };
}
