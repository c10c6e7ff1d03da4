import { z } from 'zod';
import type { Decision } from '../../domain/approval/decision.js';
import type { Offer } from '../../domain/offers.js';
import type { RolloutView } from '../../domain/rollout.js';
import { CliError, EXIT } from '../exit-codes.js';
import type { Rollouts } from '../rollouts.js';
import type { DecisionAnswer, RunDocument, RunList, StartedRun, StartRun } from '../server/contract.js';
import type { Found, RolloutRef } from '../slipway.js';
import { Api, ServerRefusal } from './api.js';
import { tokenSource } from './tokens.js';

/** Of an answer of our own server what is relied on is checked; the rest is as `contract.ts` says. */
const Run = z.looseObject({
  view: z.looseObject({ version: z.literal(1), rolloutId: z.string(), lane: z.looseObject({}) }),
  links: z.looseObject({ page: z.string(), temporalWeb: z.string() }),
  offers: z.array(z.looseObject({ verb: z.string(), allowed: z.boolean(), does: z.string() })),
  remarks: z.array(z.string()),
});
const Runs = z.looseObject({ runs: z.array(z.looseObject({ rolloutId: z.string() })), next: z.string().nullable() });
const Started = z.looseObject({ run_id: z.string(), status: z.string() });
const Answer = z.looseObject({ kind: z.enum(['accepted', 'duplicate', 'recorded']), text: z.string() });

/** The Slipway server, as the commands use it: it knows by the token who speaks, and signs what is decided. */
export class Remote implements Rollouts {
  /** What was last said of each rollout. */
  private readonly known = new Map<string, Pick<RunDocument, 'links' | 'offers'>>();

  private constructor(private readonly api: Api) {}

  /** @param server the server's address, as the user gave it */
  static async connect(env: Readonly<Record<string, string | undefined>>, server: string): Promise<Remote> {
    const address = serverAddress(server);
    return new Remote(new Api(address, await tokenSource(env, address)));
  }

  get server(): string {
    return this.api.server;
  }

  async start(run: StartRun): Promise<StartedRun> {
    return checked<StartedRun>(this.api, Started, await this.api.post('/runs', run));
  }

  async retry(rolloutId: string, idempotencyKey: string): Promise<StartedRun> {
    const path = `/runs/${encodeURIComponent(rolloutId)}/retry`;
    return checked<StartedRun>(this.api, Started, await this.api.post(path, { idempotencyKey }));
  }

  async list(query: URLSearchParams): Promise<RunList> {
    return checked<RunList>(this.api, Runs, await this.api.get(`/runs?${query.toString()}`));
  }

  async resolve(text: string): Promise<RolloutRef> {
    const parts = text.split('/');
    const rolloutId = parts.at(-1) ?? '';
    if (!/^[0-9a-f]{16}$/.test(rolloutId) || (parts.length !== 1 && parts.length !== 3))
      throw new CliError(
        EXIT.usage,
        `"${text}" is no rollout id: 16 hex digits, or environment/service/id`,
        'see `slipway list`',
      );
    const { view } = await this.run(rolloutId);
    return { lane: view.lane, rolloutId };
  }

  async find({ rolloutId }: RolloutRef): Promise<Found> {
    const { view, remarks } = await this.run(rolloutId);
    return { kind: 'running', view, remarks };
  }

  /** What the server shows of one rollout, with what the caller may do to it now. */
  async run(rolloutId: string): Promise<RunDocument> {
    const path = `/runs/${encodeURIComponent(rolloutId)}`;
    const document = checked<RunDocument>(this.api, Run, await this.api.get(path));
    this.known.set(rolloutId, document);
    return document;
  }

  async decide({ rolloutId }: RolloutRef, decision: Decision): Promise<DecisionAnswer> {
    const { id, verb, gate, planDigest, reason, full } = decision;
    const path = `/runs/${encodeURIComponent(rolloutId)}/decisions`;
    const body = {
      id,
      verb,
      ...(gate === null ? {} : { gate }),
      ...(planDigest === null ? {} : { planDigest }),
      ...(reason === null ? {} : { reason }),
      ...(full ? { full } : {}),
    };
    try {
      return checked<DecisionAnswer>(this.api, Answer, await this.api.post(path, body));
    } catch (error) {
      if (error instanceof ServerRefusal && (error.status === 409 || error.status === 403))
        throw new ServerRefusal(error.exitCode, error.status, error.code, `refused: ${error.message}`, error.remedy);
      throw error;
    }
  }

  links({ rolloutId }: RolloutRef): { readonly page: string; readonly temporalWeb: string | null } {
    const known = this.known.get(rolloutId)?.links;
    const page = known?.page ?? `/rollouts/${rolloutId}`;
    return { page: new URL(page, `${this.server}/`).href, temporalWeb: known?.temporalWeb ?? null };
  }

  offers({ rolloutId }: Pick<RolloutView, 'rolloutId'>): readonly Offer[] {
    return this.known.get(rolloutId)?.offers ?? [];
  }

  async close(): Promise<void> {
    // Nothing is held open between calls.
  }
}

/** An address without a slash at its end. @throws CliError (2) */
export function serverAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const loopback = url !== null && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '' || url.username !== '')
    throw new CliError(EXIT.usage, `"${text}" is no address of a server`, 'write https://slipway.example.com');
  // A token over plain http is anybody's.
  if (url.protocol === 'http:' && !loopback)
    throw new CliError(EXIT.usage, `"${text}" is not safe: tokens would travel in the clear`, 'use https://');
  return url.href.replace(/\/+$/, '');
}

function checked<T>({ server }: Api, schema: z.ZodType, document: unknown): T {
  if (schema.safeParse(document).success) return document as T;
  throw new CliError(
    EXIT.unavailable,
    `${server} did not answer as a Slipway server of this version does`,
    'see that SLIPWAY_SERVER is the address of `slipway server`, and that both are of one version',
  );
}
