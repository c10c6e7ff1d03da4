/** The web page as the server sees it: HTML with its first data inside, and a fixed map of assets. No DOM here. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';
import { z } from 'zod';
import { BOOT_ID } from './boot.js';
import type { PageData } from '../server/seams.js';
import type { Boot } from './boot.js';

/** Where `tools/build/bundle-page.ts` puts what it makes. */
export const PAGE_FOLDER = fileURLToPath(new URL('../../web/', import.meta.url));

/** What `manifest.json` in that folder says; names carry a digest of their content. */
export const Manifest = z.object({ script: z.string(), style: z.string(), icon: z.string() });
export type Manifest = z.infer<typeof Manifest>;

export interface Page {
  /**
   * Answers with a page (`data` is what it shows), or with one of the page's own files (null).
   *
   * @returns null where the path is none of those files
   */
  handle(request: Request, data: PageData | null): Response | null;
}

/**
 * Nothing but what this server serves; no script in the HTML, no frame around it, and no text that becomes markup. The
 * identity provider is reached by a link, which `form-action` does not stop.
 */
export const CONTENT_SECURITY_POLICY = [
  `default-src 'none'`,
  `script-src 'self'`,
  `style-src 'self'`,
  `img-src 'self'`,
  `connect-src 'self'`,
  `base-uri 'none'`,
  `form-action 'self'`,
  `frame-ancestors 'none'`,
  `require-trusted-types-for 'script'`,
  `trusted-types 'none'`,
].join('; ');

const HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
} as const;

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

interface Asset {
  readonly type: string;
  readonly plain: Uint8Array<ArrayBuffer>;
  readonly gzip: Uint8Array<ArrayBuffer>;
  readonly br: Uint8Array<ArrayBuffer>;
}

/**
 * Reads the page that the build has made.
 *
 * @param options.version shown at the foot of the page
 * @throws Error where there is none: `npm run build` makes it.
 */
export async function loadPage(options: { readonly version: string; readonly folder?: string }): Promise<Page> {
  const { version, folder = PAGE_FOLDER } = options;
  const manifest = await readManifest(folder);
  const assets = new Map<string, Asset>();
  for (const name of Object.values(manifest)) assets.set(`/assets/${name}`, await readAsset(path.join(folder, name)));

  return {
    handle(request, data) {
      if (data !== null) return documentOf({ ...data, version }, manifest);
      const asset = assets.get(new URL(request.url).pathname);
      return asset === undefined ? null : assetResponse(asset, request.headers.get('accept-encoding') ?? '');
    },
  };
}

function documentOf(boot: Boot, manifest: Manifest): Response {
  return new Response(shell(boot, manifest), {
    status: boot.page === 'problem' ? boot.problem.status : 200,
    headers: {
      ...HEADERS,
      'content-type': 'text/html; charset=utf-8',
      // Never compressed: it holds a secret (the CSRF token) beside text that others choose.
      'cache-control': 'no-store, no-transform',
      'content-security-policy': CONTENT_SECURITY_POLICY,
      'x-frame-options': 'DENY',
    },
  });
}

function assetResponse(asset: Asset, accepted: string): Response {
  const codings = accepted.split(',').map((part) => part.trim().toLowerCase());
  const coding = (['br', 'gzip'] as const).find((name) => codings.includes(name));
  return new Response(asset[coding ?? 'plain'], {
    headers: {
      ...HEADERS,
      'content-type': asset.type,
      'cache-control': 'public, max-age=31536000, immutable',
      vary: 'accept-encoding',
      ...(coding === undefined ? {} : { 'content-encoding': coding }),
    },
  });
}

/** `<` is written as an escape, so that no text inside can end the element or begin another. */
function shell(boot: Boot, { script, style, icon }: Manifest): string {
  const data = JSON.stringify(boot)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Slipway</title>
<link rel="icon" href="/assets/${icon}" type="image/svg+xml">
<link rel="stylesheet" href="/assets/${style}">
<script type="module" src="/assets/${script}"></script>
</head>
<body>
<div id="app"><p class="boot">Slipway: loading …</p></div>
<noscript><p class="boot">This page needs JavaScript. Without it: <code>slipway list --waiting</code>, <code>slipway status ID</code>.</p></noscript>
<script type="application/json" id="${BOOT_ID}">${data}</script>
</body>
</html>
`;
}

async function readManifest(folder: string): Promise<Manifest> {
  const file = path.join(folder, 'manifest.json');
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new Error(`the web page is not built: ${file} can't be read; run \`npm run build\``, { cause: error });
  });
  return Manifest.parse(JSON.parse(text));
}

const toGzip = promisify(gzip);
const toBrotli = promisify(brotliCompress);

async function readAsset(file: string): Promise<Asset> {
  const plain = await readFile(file);
  const [zipped, brotli] = await Promise.all([toGzip(plain, { level: 9 }), toBrotli(plain)]);
  const type = TYPES[path.extname(file)];
  if (type === undefined) throw new Error(`${file}: the page has no such kind of asset`);
  return { type, plain: Uint8Array.from(plain), gzip: Uint8Array.from(zipped), br: Uint8Array.from(brotli) };
}
