/**
 * Bundles `activities/kubernetes/kube-config.ts` over what tsc has made of it, so that only what it names of the
 * Kubernetes client is loaded. All other packages stay imports.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Plugin } from 'esbuild';

const SOURCE = fileURLToPath(new URL('../../../activities/kubernetes/kube-config.ts', import.meta.url));
const TARGET = fileURLToPath(new URL('../../activities/kubernetes/kube-config.js', import.meta.url));
const CLIENT = path.join('node_modules', '@kubernetes', 'client-node', path.sep);

/** Its package does not say so, but no module of the client does anything when it is loaded: those unused can go. */
const clientAlone: Plugin = {
  name: 'client-alone',
  setup(building) {
    const resolving = Symbol('resolving');
    building.onResolve({ filter: /.*/ }, async (asked) => {
      if (asked.pluginData === resolving || asked.kind === 'entry-point') return undefined;
      const { kind, importer, resolveDir } = asked;
      const find = (from: string): ReturnType<typeof building.resolve> =>
        building.resolve(asked.path, { kind, importer, resolveDir: from, with: asked.with, pluginData: resolving });
      const found = await find(resolveDir);
      if (found.errors.length > 0) return { errors: found.errors };
      if (found.path.includes(CLIENT)) return { path: found.path, sideEffects: false };
      // The bundle will look for it from where it lies, not from the client's folder.
      if ((await find(path.dirname(SOURCE))).path !== found.path)
        return { errors: [{ text: `the Kubernetes client has a ${asked.path} of its own: ${found.path}` }] };
      return { path: asked.path, external: true, sideEffects: false };
    });
  },
};

await build({
  entryPoints: [SOURCE],
  outfile: TARGET,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.18',
  plugins: [clientAlone],
  logLevel: 'warning',
});
