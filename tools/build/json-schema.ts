/**
 * Writes docs/slipway.schema.json, which editors use, and the tables of keys in docs/slipway-yaml.md, both from the
 * schema that the parser itself uses. Run it after a change of formats/slipway-schema.ts: a test compares.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { format, resolveConfig } from 'prettier';
import { z } from 'zod';
import { SlipwayFile } from '../../formats/slipway-schema.js';

export const SCHEMA_FILE = 'docs/slipway.schema.json';
export const REFERENCE_FILE = 'docs/slipway-yaml.md';
const BEGIN = '<!-- keys: written by tools/build/json-schema.ts -->';
const END = '<!-- end of keys -->';
/** Draft 7 is what editors' YAML support knows best. */
const DIALECT = 'draft-07';

/** The part of JSON Schema that ours uses. */
interface Schema {
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly definitions?: Readonly<Record<string, Schema>>;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly required?: readonly string[];
}

/** The published JSON Schema, as text in this repository's format. */
export async function schemaText(): Promise<string> {
  const style = await resolveConfig(SCHEMA_FILE);
  return format(JSON.stringify(jsonSchema(), null, 2), { ...style, parser: 'json' });
}

/** The reference page with its tables of keys brought up to date. */
export function referenceText(page: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${REFERENCE_FILE} lacks the lines ${BEGIN} and ${END}`);
  return `${page.slice(0, begin + BEGIN.length)}\n\n${keyTables()}\n\n${page.slice(end)}`;
}

function jsonSchema(): Schema {
  return z.toJSONSchema(SlipwayFile, {
    io: 'input',
    target: DIALECT,
    override: ({ zodSchema, jsonSchema }) => {
      // zod leaves out the defaults of what it transforms; ours are written as they stand in the file.
      const fallback = z.globalRegistry.get(zodSchema)?.default;
      if (fallback !== undefined) Object.assign(jsonSchema, { default: fallback });
    },
  }) as Schema;
}

function keyTables(): string {
  const file = jsonSchema();
  const environment = file.definitions?.Environment ?? {};
  return [
    section('The file', file),
    section('An environment, and `defaults`', environment),
    ...nested(environment, '').map(([path, schema]) => section(`\`${path}\``, schema)),
  ].join('\n\n');
}

/** The mappings below a schema, each with the path of its key. */
function nested(schema: Schema, prefix: string): readonly (readonly [path: string, schema: Schema])[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, value]) => {
    return alternatives(value).flatMap((one) => {
      const item = one.type === 'array' ? (one.items ?? {}) : one;
      const path = `${prefix}${key}${one.type === 'array' ? '[]' : ''}`;
      if (item.properties === undefined) return [];
      // Said once, above: what holds for each strategy, and for each level of risk.
      return [[path, item] as const, ...nested(item, `${path}.`)].filter(
        ([path]) => !/\.(canary_|byRisk\.)/.test(path),
      );
    });
  });
}

function section(title: string, { properties = {}, required = [] }: Schema): string {
  const rows = Object.entries(properties).map(([key, schema]) => {
    const name = required.includes(key) ? `**\`${key}\`**` : `\`${key}\``;
    return `| ${name} | ${cell(valueText(schema))} | ${cell(schema.description ?? '')} |`;
  });
  return [`### ${title}`, '', '| key | value | meaning |', '|---|---|---|', ...rows].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

/** What may stand behind a key, in a few words. */
function valueText(schema: Schema): string {
  if (schema.title !== undefined) return schema.title;
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(' | ');
  const choices = alternatives(schema);
  if (choices.length > 1) return choices.map(valueText).join(' | ');
  if (schema.$ref !== undefined || schema.allOf !== undefined) return 'keys of an environment';
  if (schema.type === 'array') {
    return `list of ${schema.items?.properties === undefined ? valueText(schema.items ?? {}) : 'mappings'}`;
  }
  if (schema.type === 'object') {
    const values = schema.additionalProperties;
    return typeof values === 'object' ? `name: ${valueText(values)}` : 'mapping';
  }
  const words: Readonly<Record<string, string>> = {
    integer: 'whole number',
    boolean: '`true` | `false`',
    string: 'text',
  };
  return words[schema.type ?? ''] ?? 'anything';
}

function alternatives(schema: Schema): readonly Schema[] {
  return schema.anyOf ?? [schema];
}

async function writeFiles(): Promise<void> {
  await writeFile(SCHEMA_FILE, await schemaText());
  await writeFile(REFERENCE_FILE, referenceText(await readFile(REFERENCE_FILE, 'utf8')));
  process.stdout.write(`wrote ${SCHEMA_FILE} and ${REFERENCE_FILE}\n`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  // Built, this file is dist/tools/build/json-schema.js.
  process.chdir(fileURLToPath(new URL('../../..', import.meta.url)));
  await writeFiles();
}
