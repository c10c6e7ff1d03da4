import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';

/** The rooms of the house and what each may import: DESIGN.md's rules. `@` entries are packages, others are rooms. */
const MAY_IMPORT: Readonly<Record<string, readonly RegExp[]>> = {
  domain: [/^domain\//, /^@noble\/hashes/],
  formats: [/^(formats|domain)\//, /^(zod|yaml|jose)$/],
  workflows: [/^(workflows|domain)\//, /^@temporalio\/(workflow|common)$/],
  activities: [
    /^(activities|domain|formats)\//,
    /^node:/,
    /^(@temporalio\/(activity|common|client)|@kubernetes\/client-node|undici|openai|aws4fetch|zod)(\/|$)/,
  ],
  gateway: [/^(gateway|domain|formats)\//, /^node:/, /^(zod|prom-client)$/],
  client: [
    /^(client|domain|formats)\//,
    /^workflows\/messages\.js$/,
    /^node:/,
    /^@temporalio\/(client|common|envconfig)$/,
    // The server, and what it serves.
    /^(hono|@hono\/[\w-]+|jose|openid-client|zod|pino|prom-client|eventsource-parser|preact|@preact\/signals|uplot)(\/|$)/,
  ],
  worker: [
    /^(worker|activities|client|domain|formats|workflows)\//,
    /^node:/,
    /^(@temporalio\/|zod$|pino$|prom-client$)/,
  ],
};
/** Rooms that may be named in `import type` only. */
const TYPES_ONLY: Readonly<Record<string, readonly RegExp[]>> = {
  workflows: [/^activities\//],
  client: [/^workflows\//],
};

/** Where environment variables may be read: the entries. */
const ENTRIES = [/^bin\//, /^tools\//, /^demo\//, /^bench\//, /^test\//];

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

async function sources(room: string): Promise<readonly string[]> {
  const entries = await readdir(room, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => path.posix.join(entry.parentPath, entry.name));
}

async function importsOf(file: string): Promise<readonly Import[]> {
  const text = await readFile(file, 'utf8');
  const found = text.matchAll(/^\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)/gm);
  return [...found].map((match) => {
    const name = match[2] ?? match[3] ?? '';
    const target = name.startsWith('.') ? path.posix.normalize(path.posix.join(path.posix.dirname(file), name)) : name;
    return { file, target, typeOnly: match[1] !== undefined };
  });
}

for (const [room, allowed] of Object.entries(MAY_IMPORT)) {
  test(`${room} imports only what its place in the house allows`, async () => {
    const files = await sources(room);
    assert.ok(files.length > 0, `no sources in ${room}`);
    const imports = (await Promise.all(files.map(importsOf))).flat();
    const wrong = imports.filter(({ target, typeOnly }) => {
      const rules = typeOnly ? [...allowed, ...(TYPES_ONLY[room] ?? [])] : allowed;
      return !rules.some((rule) => rule.test(target));
    });
    assert.deepEqual(
      wrong.map(({ file, target }) => `${file} imports ${target}`),
      [],
    );
  });
}

test('what runs in a browser imports what can run there, and is imported by nothing else', async () => {
  const browser = /^client\/web\/browser\//;
  const here = [
    /^client\/web\/(browser\/|(boot|changes|series)\.js$)/,
    /^domain\//,
    /^(preact(\/hooks)?|@preact\/signals|uplot|eventsource-parser)$/,
  ];
  const imports = (await Promise.all((await sources('client')).map(importsOf))).flat();
  const inside = imports.filter(({ file }) => browser.test(file));
  assert.ok(inside.length > 20, 'no sources in client/web/browser');
  const wrong = [
    ...inside.filter(({ target, typeOnly }) => !typeOnly && !here.some((rule) => rule.test(target))),
    ...imports.filter(({ file, target }) => !browser.test(file) && browser.test(target)),
  ];
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
  );
});

test('environment variables are read in the entries only', async () => {
  const rooms = ['domain', 'formats', 'workflows', 'activities', 'gateway', 'client', 'worker'];
  const files = (await Promise.all(rooms.map(sources))).flat();
  const readers: string[] = [];
  for (const file of files) {
    if (ENTRIES.some((entry) => entry.test(file))) continue;
    const code = (await readFile(file, 'utf8')).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    if (/process\.env/.test(code)) readers.push(file);
  }
  assert.deepEqual(readers, []);
});

test('domain has no clock, no randomness and no module state', async () => {
  for (const file of await sources('domain')) {
    const code = (await readFile(file, 'utf8')).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    assert.doesNotMatch(code, /Date\.now\(|new Date\(\)|Math\.random|setTimeout|setInterval/, file);
    assert.doesNotMatch(code, /^(let|var) /m, `${file} has module-level state`);
  }
});

test('updates are handled when what was resolved before them is dealt with', async () => {
  for (const file of await sources('workflows'))
    assert.doesNotMatch(await readFile(file, 'utf8'), /setHandler\(\s*\w+Update\b/, `${file}: see onUpdate`);
});

test('the workflow bundle has no zod and stays within its size', async () => {
  const bundle = await readFile('dist/workflow-bundle.js', 'utf8');
  assert.doesNotMatch(bundle, /node_modules\/zod\//);
  assert.doesNotMatch(bundle, /node_modules\/(openai|yaml|pino|prom-client)\//);
  // The rest is the source map, which is loaded for stack traces only.
  const code = bundle.slice(0, bundle.lastIndexOf('//# sourceMappingURL='));
  assert.ok(code.length < 900_000, `the bundle has ${code.length} bytes of code: find out what it drags in`);
});

test('no module that workflows load keeps a state: all workflows of a worker share them', async () => {
  const files = (await Promise.all(['domain', 'workflows'].map(sources))).flat();
  const keeper = /^(export )?((let|var)\s|const \w+(: [^=]+)? = (new (Weak)?(Map|Set)(<[^>]*>)?\(\)|\[\]|\{\});)/m;
  assert.ok(keeper.test('const seen = new Map<string, number>();'), 'it would be noticed');
  const keepers: string[] = [];
  for (const file of files) if (keeper.test(await readFile(file, 'utf8'))) keepers.push(file);
  assert.deepEqual(keepers, []);
});
