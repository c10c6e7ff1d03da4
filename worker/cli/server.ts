import path from 'node:path';
import { createFolderStore, EvidenceMissing } from '../../activities/evidence/evidence-store.js';
import type { CliContext, CommandResult } from '../../client/cli/context.js';
import { done } from '../../client/cli/context.js';
import { loadServerConfig } from '../../client/server/config.js';
import type { Seams } from '../../client/server/seams.js';
import { createServerLog, serve } from '../../client/server/serve.js';
import { loadPage } from '../../client/web/page.js';
import { SLIPWAY_VERSION } from '../../domain/version.js';

/** `slipway server`: runs until SIGINT or SIGTERM. */
export async function server(context: CliContext): Promise<CommandResult> {
  const config = await loadServerConfig(context.env, context.cwd);
  const log = createServerLog(config.logLevel);
  const page = await loadPage({ version: SLIPWAY_VERSION });
  const running = await serve({ config, env: context.env, log, page, ...seamsOf(config) });
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
  log.info('server stopped');
  return done({ stopped: true });
}

/** What the server reads besides Temporal: the stores that the workers write. */
export function seamsOf({ dataDir }: { readonly dataDir: string }): Seams {
  const store = createFolderStore(path.join(dataDir, 'evidence'));
  return {
    evidence: {
      async get(digest) {
        try {
          return await store.get(digest);
        } catch (error) {
          if (error instanceof EvidenceMissing) return null;
          throw error;
        }
      },
    },
  };
}
