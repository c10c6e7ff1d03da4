/**
 * Bundles `client/web/browser` into `dist/web`: one script, one style sheet, one icon, each named by its content, and the
 * manifest that names them. Whole or not at all: the folder is made beside the old one and then takes its place.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { PAGE_FOLDER } from '../../client/web/page.js';
import type { Manifest } from '../../client/web/page.js';

const SOURCES = fileURLToPath(new URL('../../../client/web/browser/', import.meta.url));

const { outputFiles } = await build({
  entryPoints: [path.join(SOURCES, 'main.tsx'), path.join(SOURCES, 'style.css')],
  tsconfig: path.join(SOURCES, 'tsconfig.json'),
  outdir: PAGE_FOLDER,
  entryNames: 'page-[hash]',
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['chrome109', 'firefox115', 'safari16.4'],
  legalComments: 'none',
  charset: 'utf8',
  logLevel: 'warning',
  write: false,
});

const file = (extension: string): { readonly name: string; readonly content: Uint8Array } => {
  const found = outputFiles.find((output) => output.path.endsWith(extension));
  if (found === undefined) throw new Error(`the bundle of the page has no ${extension}`);
  return { name: path.basename(found.path), content: found.contents };
};
const icon = await readFile(path.join(SOURCES, 'icon.svg'));
const parts = {
  script: file('.js'),
  style: file('.css'),
  icon: { name: `icon-${createHash('sha256').update(icon).digest('hex').slice(0, 8)}.svg`, content: icon },
};
const manifest: Manifest = { script: parts.script.name, style: parts.style.name, icon: parts.icon.name };

const made = `${PAGE_FOLDER.replace(/\/$/, '')}.${process.pid}`;
await mkdir(made, { recursive: true });
for (const { name, content } of Object.values(parts)) await writeFile(path.join(made, name), content);
await writeFile(path.join(made, 'manifest.json'), `${JSON.stringify(manifest)}\n`);
await rm(PAGE_FOLDER, { recursive: true, force: true });
await rename(made, PAGE_FOLDER);
