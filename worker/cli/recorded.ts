import path from 'node:path';
import type { CliContext } from '../../client/cli/context.js';
import { usage } from '../../client/cli/context.js';
import type { RolloutView } from '../../domain/rollout.js';
import { ConfigError, loadStorageConfig } from '../config.js';
import { openStorage } from '../storage.js';
import type { Storage } from '../storage.js';

/** What is kept for good, as the environment of a command says where. */
export function storageOf({ env, cwd }: Pick<CliContext, 'env' | 'cwd'>): Storage {
  try {
    const config = loadStorageConfig(env);
    return openStorage({ ...config, dataDir: path.resolve(cwd, config.dataDir) });
  } catch (error) {
    if (error instanceof ConfigError) throw usage(error.message, 'correct the setting');
    throw error;
  }
}

/** The view of a rollout as it was when it ended, for when Temporal has forgotten it; null where no record is kept. */
export async function recordedView(context: CliContext, rolloutId: string): Promise<RolloutView | null> {
  if (!/^[0-9a-f]{16}$/.test(rolloutId)) return null;
  const { archive } = storageOf(context);
  const [ended] = await archive.find(rolloutId);
  return ended === undefined ? null : archive.view(ended);
}
