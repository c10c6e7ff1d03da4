/**
 * Bundles the built workflows into `dist/workflow-bundle.js`, the one file that workers load.
 * Does nothing when neither the inputs nor the SDK, which must be the same in bundle and worker, have changed.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const DIST = fileURLToPath(new URL('../..', import.meta.url));
const WORKFLOWS = join(DIST, 'workflows', 'index.js');
const BUNDLE = join(DIST, 'workflow-bundle.js');
const DIGEST = `${BUNDLE}.inputs`;
const INPUT_FOLDERS = ['workflows', 'domain'];

async function digestInputs(): Promise<string> {
  const hash = createHash('sha256');
  hash.update(await readFile(fileURLToPath(import.meta.resolve('@temporalio/worker/package.json'))));
  // How it is bundled stands here.
  hash.update(await readFile(fileURLToPath(import.meta.url)));
  for (const folder of INPUT_FOLDERS) {
    const root = join(DIST, folder);
    if (!existsSync(root)) continue;
    const files = (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.js'));
    for (const file of files.toSorted()) {
      hash.update(`\0${folder}/${file}\0`);
      hash.update(await readFile(join(root, file)));
    }
  }
  return hash.digest('hex');
}

async function isCurrent(digest: string): Promise<boolean> {
  return existsSync(BUNDLE) && existsSync(DIGEST) && (await readFile(DIGEST, 'utf8')) === digest;
}

/** Replaces the file at once, so that a worker starting meanwhile reads the old bundle or the new one. */
async function replace(file: string, content: string): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, content);
  await rename(temporary, file);
}

if (!existsSync(WORKFLOWS)) {
  process.stderr.write(`There are no built workflows at ${WORKFLOWS}; run \`npm run build\`.\n`);
  process.exit(1);
}
const started = performance.now();
const digest = await digestInputs();
if (!(await isCurrent(digest))) {
  const { code } = await bundleWorkflowCode({
    workflowsPath: WORKFLOWS,
    // Loaded once for all workflows instead of once for each: no module of ours keeps a state (test/house.test.ts), and
    // the SDK freezes what they export.
    preloadModules: [WORKFLOWS],
    logger: new DefaultLogger('ERROR'),
  });
  await replace(BUNDLE, code);
  await replace(DIGEST, digest);
  const size = (code.length / 1e6).toFixed(2);
  process.stdout.write(`workflow bundle: ${size} MB in ${Math.round(performance.now() - started)} ms\n`);
}
