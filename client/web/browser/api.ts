/** The API as the page uses it. What comes back is either what was asked for, or a problem that says what to do. */
import type {
  CommandToken,
  DecisionAnswer,
  DecisionBody,
  Problem,
  RunList,
  StartedRun,
} from '../../server/contract.js';
import type { JudgeInput } from '../../../domain/canary/types.js';
import type { ShownProblem } from '../boot.js';
import { csrfHeader } from './session.js';

export type Result<T> =
  | { readonly kind: 'found'; readonly value: T }
  | { readonly kind: 'problem'; readonly problem: ShownProblem }
  /** Nobody answered: what was asked for may have been done, or not. */
  | { readonly kind: 'no-answer'; readonly text: string };

/** The server may wait for a workflow for half a minute. */
const CALL_MS = 45_000;

async function call<T>(
  path: string,
  init: { readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string } = {},
): Promise<Result<T>> {
  try {
    const response = await fetch(path, {
      ...init,
      headers: { accept: 'application/json, application/problem+json', ...init.headers },
      signal: AbortSignal.timeout(CALL_MS),
      redirect: 'error',
    });
    if (!response.ok) return { kind: 'problem', problem: await problemOf(response) };
    return { kind: 'found', value: (response.status === 204 ? null : await response.json()) as T };
  } catch (error) {
    return { kind: 'no-answer', text: error instanceof Error ? error.message : String(error) };
  }
}

/** What a refusal says; one that is no problem document is told by its status. */
export async function problemOf(response: Response): Promise<ShownProblem> {
  const { status } = response;
  const problem = await response.json().then(
    (value) => value as Partial<Problem> | null,
    () => null,
  );
  return {
    status,
    title: text(problem?.title) ?? `The server answered ${status}`,
    detail: text(problem?.detail) ?? '',
    next: text(problem?.next) ?? 'Try again; if it stays so, tell whoever runs this server.',
  };
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function post<T>(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Result<T>> {
  return call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

export function decide(rolloutId: string, body: DecisionBody, csrf: string | null): Promise<Result<DecisionAnswer>> {
  return post(`/runs/${encodeURIComponent(rolloutId)}/decisions`, body, csrfHeader(csrf));
}

/** A new rollout of the same release; the same `key` is the same rollout, however often it is asked for. */
export function retry(rolloutId: string, key: string, csrf: string | null): Promise<Result<StartedRun>> {
  return post(`/runs/${encodeURIComponent(rolloutId)}/retry`, {}, { ...csrfHeader(csrf), 'idempotency-key': key });
}

export function endedRuns(cursor: string | null): Promise<Result<RunList>> {
  const query = new URLSearchParams({ state: 'ended', limit: '50', ...(cursor === null ? {} : { cursor }) });
  return call(`/runs?${query.toString()}`);
}

/** The samples behind a verdict. */
export function evidenceOf(rolloutId: string, digest: string): Promise<Result<JudgeInput>> {
  return call(`/runs/${encodeURIComponent(rolloutId)}/evidence/${encodeURIComponent(digest)}`);
}

/** A session for who shows a static token; the token itself is not kept here. */
export function logInByToken(token: string): Promise<Result<unknown>> {
  return post('/login/token', { token });
}

/** A token for the command line, for as long as this session lasts. */
export function commandToken(csrf: string | null): Promise<Result<CommandToken>> {
  return post('/login/command', {}, csrfHeader(csrf));
}

export function logOut(csrf: string | null): Promise<Result<unknown>> {
  return post('/logout', {}, csrfHeader(csrf));
}
