import { z } from 'zod';
import { CliError, EXIT } from '../exit-codes.js';
import { PROBLEM_BASE } from '../server/problems.js';
import type { TokenSource } from './tokens.js';

const CALL_MS = 15_000;

/** What of a problem document (RFC 9457) is said to people. */
const ProblemText = z.object({
  type: z.string(),
  title: z.string(),
  detail: z.string(),
  next: z.string(),
  errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
});

/** A refusal of the server: what it says, and which of its problems it is. */
export class ServerRefusal extends CliError {
  constructor(
    exitCode: number,
    readonly status: number,
    /** The last part of the problem's type: `not-found`, `refused`, … */
    readonly code: string,
    message: string,
    remedy: string | null,
  ) {
    super(exitCode, message, remedy);
  }
}

/** The Slipway server's API as the command line speaks it. Each call has a deadline, and is safe to repeat. */
export class Api {
  constructor(
    /** Without a slash at its end. */
    readonly server: string,
    private readonly tokens: TokenSource,
  ) {}

  async get(path: string): Promise<unknown> {
    return this.call('GET', path, undefined, {});
  }

  async post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<unknown> {
    return this.call('POST', path, JSON.stringify(body), { 'content-type': 'application/json', ...headers });
  }

  private async call(
    method: string,
    path: string,
    body: string | undefined,
    headers: Readonly<Record<string, string>>,
  ): Promise<unknown> {
    const token = await this.tokens.token(method !== 'GET');
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${this.server}${path}`, {
        method,
        headers: {
          accept: 'application/json',
          ...headers,
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        },
        ...(body === undefined ? {} : { body }),
        // Another address must not get the token.
        redirect: 'error',
        signal: AbortSignal.timeout(CALL_MS),
      });
      text = await response.text();
    } catch (error) {
      throw new CliError(
        EXIT.unavailable,
        `the Slipway server at ${this.server} can't be reached: ${reasonOf(error)}`,
        'start it (`slipway server`), or set SLIPWAY_SERVER to its address; --direct speaks to Temporal itself',
      );
    }
    const document = parse(text);
    if (response.ok && document !== undefined) return document;
    throw this.refusal(response.status, document);
  }

  private refusal(status: number, document: unknown): ServerRefusal {
    const unavailable = status === 429 || status >= 500;
    const exitCode = unavailable ? EXIT.unavailable : EXIT.usage;
    const parsed = ProblemText.safeParse(document);
    if (!parsed.success)
      return new ServerRefusal(
        exitCode,
        status,
        'unknown',
        `${this.server} answered ${status}, and not as a Slipway server does`,
        'see that SLIPWAY_SERVER is the address of `slipway server`, without a path',
      );
    const { type, title, detail, next, errors = [] } = parsed.data;
    const code = type.startsWith(PROBLEM_BASE) ? type.slice(PROBLEM_BASE.length) : type;
    const where = errors.map((error) => `\n  ${error.pointer}: ${error.detail}`).join('');
    const remedy = status === 401 ? `log in: slipway login --server ${this.server} (now: ${this.tokens.from})` : next;
    return new ServerRefusal(
      code === 'lane-busy' ? EXIT.laneBusy : exitCode,
      status,
      code,
      `${detail || title}${where}`,
      remedy,
    );
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Node's `fetch failed` says nothing: its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return `no answer within ${CALL_MS / 1000} s`;
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message;
}
