import fc from 'fast-check';

/** What is used of JSON Schema 2020-12 in our OpenAPI document. */
export interface JsonSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly propertyNames?: JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
}
type Components = Readonly<Record<string, JsonSchema>>;

/** Values that the schema allows. */
export function valid(schema: JsonSchema, components: Components): fc.Arbitrary<unknown> {
  const of = (inner: JsonSchema): fc.Arbitrary<unknown> => valid(inner, components);
  if (schema.$ref !== undefined) return of(components[schema.$ref.split('/').at(-1) ?? ''] ?? {});
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map(of));
  const type = typeof schema.type === 'string' ? schema.type : (schema.type?.[0] ?? 'any');
  switch (type) {
    case 'object':
      return objects(schema, of);
    case 'array':
      return fc.array(of(schema.items ?? {}), { maxLength: Math.min(5, schema.maxItems ?? 5) });
    case 'string':
      return strings(schema);
    case 'integer':
    case 'number':
      return fc.integer({ min: schema.minimum ?? -1000, max: Math.min(schema.maximum ?? 1000, 2 ** 31) });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function objects(schema: JsonSchema, of: (inner: JsonSchema) => fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], additionalProperties, propertyNames } = schema;
  const known = fc.record(Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, of(inner)])), {
    requiredKeys: [...required],
  });
  if (typeof additionalProperties !== 'object' || Object.keys(properties).length > 0) return known;
  const names =
    propertyNames === undefined
      ? fc.string({ minLength: 1, maxLength: 8 })
      : (of(propertyNames) as fc.Arbitrary<string>);
  return fc.dictionary(names, of(additionalProperties), { maxKeys: 3 });
}

function strings({ pattern, format, minLength = 0, maxLength = 200 }: JsonSchema): fc.Arbitrary<string> {
  if (format === 'date-time')
    return fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }).map((date) => date.toISOString());
  const limit = Math.min(maxLength, 200);
  const texts =
    pattern === undefined
      ? fc.string({ unit: 'grapheme', minLength, maxLength: limit })
      : fc.stringMatching(new RegExp(pattern), { maxLength: limit });
  return texts.filter((text) => text.length >= minLength && text.length <= maxLength);
}

const NASTY: readonly unknown[] = [
  null,
  0,
  -1,
  1e308,
  true,
  '',
  ' ',
  '\u0000',
  '../../etc/passwd',
  "x' OR '1'='1",
  '${jndi:ldap://x}',
  '<script>alert(1)</script>',
  '\r\nSet-Cookie: a=b',
  '\u202Eevil',
  'a'.repeat(70_000),
  [],
  {},
  [[[[[[]]]]]],
  { $ref: '#' },
  { constructor: 1, toString: 2 },
  '9'.repeat(400),
];

/** Values that are somewhere not as the schema says: a key too many, too few, or something else in its place. */
export function nearlyValid(schema: JsonSchema, components: Components): fc.Arbitrary<unknown> {
  return fc
    .tuple(
      valid(schema, components),
      fc.nat(),
      fc.constantFrom(...NASTY),
      fc.constantFrom('replace', 'remove', 'add', 'whole'),
    )
    .map(([value, at, nasty, how]) => {
      if (how === 'whole') return nasty;
      const places = placesOf(value);
      const place = places[at % Math.max(1, places.length)];
      if (place === undefined) return nasty;
      const copy = structuredClone(value) as Record<string, unknown>;
      let inner = copy;
      for (const step of place.slice(0, -1)) inner = inner[step] as Record<string, unknown>;
      const last = place.at(-1) ?? '';
      if (how === 'remove') delete inner[last];
      else if (how === 'add') inner[`${last}_more`] = nasty;
      else inner[last] = nasty;
      return copy;
    });
}

function placesOf(value: unknown, at: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [[...at, key], ...placesOf(inner, [...at, key])]);
}
