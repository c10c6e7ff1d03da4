import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { formatProblems, parseSlipwayYaml, policyFor } from '../../formats/slipway-yaml.js';
import { REFERENCE_FILE, referenceText, SCHEMA_FILE, schemaText } from '../../tools/build/json-schema.js';

const UPDATE = 'run `node dist/tools/build/json-schema.js` and commit what it writes';

interface Schema {
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly definitions?: Readonly<Record<string, Schema>>;
}

async function published(): Promise<Schema> {
  return JSON.parse(await readFile(SCHEMA_FILE, 'utf8')) as Schema;
}

/** The examples of the reference page, and of the page on approvals. */
async function examples(): Promise<readonly string[]> {
  const pages = await Promise.all([REFERENCE_FILE, 'docs/approvals.md'].map((file) => readFile(file, 'utf8')));
  return [...pages.join('\n').matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '');
}

test('the published JSON Schema is the one of the parser', async () => {
  assert.equal(await readFile(SCHEMA_FILE, 'utf8'), await schemaText(), UPDATE);
});

test('the reference page has the keys of the parser', async () => {
  const page = await readFile(REFERENCE_FILE, 'utf8');
  assert.equal(page, referenceText(page), UPDATE);
});

test('every key is described', async () => {
  const visit = (schema: Schema, path: string): void => {
    for (const [key, value] of Object.entries(schema.properties ?? {})) {
      assert.ok((value.description ?? '').length > 10, `${path}${key} has no description`);
      visit(value, `${path}${key}.`);
    }
    for (const inner of [...(schema.anyOf ?? []), ...(schema.items === undefined ? [] : [schema.items])])
      visit(inner, path);
  };
  const schema = await published();
  visit(schema, '');
  visit(schema.definitions?.Environment ?? {}, 'environment.');
});

test('every example of the page, and the demo’s file, is valid for parser and JSON Schema', async () => {
  const schema = z.fromJSONSchema((await published()) as Parameters<typeof z.fromJSONSchema>[0]);
  const files = [...(await examples()), await readFile('demo/slipway.yaml', 'utf8')];
  assert.ok(files.length >= 6);
  for (const text of files) {
    const parsed = parseSlipwayYaml(text, 'example');
    assert.ok(parsed.ok, parsed.ok ? '' : formatProblems(parsed.problems, 'example', text));
    assert.deepEqual(parsed.warnings, []);
    const valid = schema.safeParse(parse(text, { merge: true }));
    assert.ok(valid.success, valid.error?.message);
  }
});

test('the JSON Schema refuses what the parser refuses', async () => {
  const schema = z.fromJSONSchema((await published()) as Parameters<typeof z.fromJSONSchema>[0]);
  const file = (environment: object) => ({
    service: 'a',
    environments: { local: { platform: 'local', ...environment } },
  });
  assert.ok(schema.safeParse({ ...file({ verify: '5m' }), 'x-note': 1 }).success);
  for (const wrong of [
    { verify: 5 },
    { verify: '5' },
    { color: 1 },
    { stages: [{ weight: 0 }] },
    { stages: [] },
    { strategy: 'x' },
  ]) {
    assert.ok(!schema.safeParse(file(wrong)).success, JSON.stringify(wrong));
  }
});

test('the defaults that the schema names are those that count', async () => {
  const environment = (await published()).definitions?.Environment ?? {};
  const smallest = { platform: 'local', run: { command: ['a'] } };
  const policy = (settings: object) => {
    const text = JSON.stringify({ service: 'hello', environments: { local: settings } });
    const parsed = parseSlipwayYaml(text, 'slipway.yaml');
    assert.ok(parsed.ok, parsed.ok ? '' : formatProblems(parsed.problems, 'slipway.yaml', text));
    const found = policyFor(parsed.config, 'local', '/srv');
    assert.ok(found.ok);
    return found.policy;
  };
  const written = defaultsOf(environment);
  assert.ok(JSON.stringify(written).length > 900, 'most keys have a default');
  const run = { ...(written as { run: object }).run, ...smallest.run };
  assert.deepEqual(policy({ ...written, ...smallest, run }), policy(smallest));
});

/** A file's part with every default written out. */
function defaultsOf(schema: Schema): Readonly<Record<string, unknown>> {
  const entries = Object.entries(schema.properties ?? {}).flatMap(([key, value]): [string, unknown][] => {
    if (value.default !== undefined) return [[key, value.default]];
    const inside = defaultsOf(value);
    // What has no default at all is off unless it is written.
    return value.properties === undefined || Object.keys(inside).length === 0 ? [] : [[key, inside]];
  });
  return Object.fromEntries(entries);
}
