import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { EvidenceMissing } from '../../activities/evidence/evidence-store.js';
import { createServerLog as createRefusalLog } from '../../activities/trail/server-log.js';
import type { ServerLog } from '../../activities/trail/server-log.js';
import type { CliContext, CommandResult } from '../../client/cli/context.js';
import { done } from '../../client/cli/context.js';
import { loadServerConfig } from '../../client/server/config.js';
import type { RefusalLog, Seams } from '../../client/server/seams.js';
import { createServerLog, serve } from '../../client/server/serve.js';
import { loadPage } from '../../client/web/page.js';
import type { TrailEntry } from '../../domain/trail.js';
import { SLIPWAY_VERSION } from '../../domain/version.js';
import { readTrail } from '../../formats/trail-file.js';
import { rolloutWorkflowId } from '../../workflows/messages.js';
import type { Storage } from '../storage.js';
import { storageOf } from './recorded.js';

/** What was refused last is written down for so long when the server stops. */
const CLOSE_MS = 3000;
/**
 * How much may be added to what was alive at the last collection, in percent, before the heap is collected again. V8 lets
 * it grow much further where the machine has memory: with 1,000 streams to 311 MiB, not 263. A worker is left as it is: a
 * collection keeps all of its workflows waiting, and with more of them a release was taken after 290 ms, not 145 (p99).
 */
const HEAP_GROWTH_PERCENT = 75;

/** `slipway server`: runs until SIGINT or SIGTERM. */
export async function server(context: CliContext): Promise<CommandResult> {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  const config = await loadServerConfig(context.env, context.cwd);
  const log = createServerLog(config.logLevel);
  const page = await loadPage({ version: SLIPWAY_VERSION });
  const storage = storageOf(context);
  const refusals = createRefusalLog({
    trails: storage.trails,
    name: hostname().replaceAll(/[^\w-]/g, '-') || 'server',
    now: () => new Date(),
    onFailure: (error) => log.warn({ error: String(error) }, 'refusals can’t be kept now: tried again'),
  });
  const running = await serve({
    config,
    env: context.env,
    log,
    page,
    ...seamsOf(storage),
    refusals: refusalsIn(refusals),
  });
  for (const warning of config.warnings) log.warn(warning);
  if (config.local) {
    context.note(
      `slipway: no login: whoever can open ${running.publicUrl} on this machine may do everything, as "local"`,
    );
    context.note('  → write slipway-server.yaml to let people log in (docs/server.md)');
  }
  context.note(
    `slipway server: ${running.publicUrl} (API: /openapi.json, Temporal: ${context.env['TEMPORAL_ADDRESS'] || 'localhost:7233'})`,
  );
  log.info({ url: running.url, publicUrl: running.publicUrl, local: config.local }, 'server started');
  await new Promise<void>((resolve) => {
    // SIGINT is the context's signal.
    context.signal.addEventListener('abort', () => resolve(), { once: true });
    process.once('SIGTERM', () => resolve());
  });
  await running.close();
  await refusals.close(CLOSE_MS);
  log.info('server stopped');
  return done({ stopped: true });
}

/** What the server reads besides Temporal: the stores that the workers write. */
export function seamsOf({ evidence, trails, archive }: Storage): Pick<Seams, 'evidence' | 'archive'> {
  return {
    evidence: {
      async get(digest) {
        try {
          return await evidence.get(digest);
        } catch (error) {
          if (error instanceof EvidenceMissing) return null;
          throw error;
        }
      },
    },
    archive: {
      async find(rolloutId) {
        const [ended] = await archive.find(rolloutId);
        return ended === undefined
          ? null
          : { view: await archive.view(ended), record: await evidence.get(ended.record) };
      },
      async trail({ lane, rolloutId }) {
        const stored = await trails.read(rolloutWorkflowId(lane, rolloutId));
        // A run that was reset goes on from an entry of another: that one's account ends there.
        const left = new Set(stored.map(({ continues }) => continues?.run));
        const readings = stored.filter(({ run }) => !left.has(run)).map(({ bytes }) => readTrail(bytes).entries);
        const spoke = (entries: readonly TrailEntry[]): string => entries.at(-1)?.at ?? '';
        return readings.toSorted((one, other) => (spoke(one) < spoke(other) ? 1 : -1))[0] ?? null;
      },
    },
  };
}

/** What was refused stands in a hash-linked log of the server's own: `slipway audit show server/<host>.<day>`. */
function refusalsIn(log: ServerLog): RefusalLog {
  return {
    refused({ requestId, subject, method, route, status, code, text, rolloutId }) {
      const data = { requestId, method, route, status, code, rolloutId };
      log.write({ type: 'refusal', actor: subject, text, data });
    },
  };
}
