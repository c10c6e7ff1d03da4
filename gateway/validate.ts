import { AnchorSpec, ArmSpec, GatewayWrite, Name, RouteSpec } from '../formats/gateway.js';
import type { z } from 'zod';
import type { ObjectRef } from './journal-file.js';

/** The names that the data plane knows. */
export const ARM_NAMES = ['stable', 'canary', 'baseline'] as const;
export const ROUTE_NAME = 'route';

const MAX_OBJECT_BYTES = 256 * 1024;
const WEIGHT_TOLERANCE = 1e-9;

/** A write whose form is right. Whether it may be done is the store's to say. */
export type CheckedWrite = Omit<GatewayWrite, 'spec'> &
  (
    | { readonly kind: 'anchor'; readonly spec: AnchorSpec }
    | { readonly kind: 'arm'; readonly spec: ArmSpec }
    | { readonly kind: 'route'; readonly spec: RouteSpec }
  );

export type Checked<T> =
  { readonly kind: 'valid'; readonly value: T } | { readonly kind: 'invalid'; readonly message: string };

/** Checks the names in a path. */
export function checkRef(ref: ObjectRef): Checked<ObjectRef> {
  for (const field of ['environment', 'service', 'name'] as const) {
    const checked = check(Name, ref[field], field);
    if (checked.kind === 'invalid') return checked;
  }
  if (ref.kind === 'arm' && !(ARM_NAMES as readonly string[]).includes(ref.name)) {
    return invalid('name', ref.name, `an arm is called ${ARM_NAMES.join(', ')}`);
  }
  if (ref.kind === 'route' && ref.name !== ROUTE_NAME)
    return invalid('name', ref.name, `the route is called ${ROUTE_NAME}`);
  return { kind: 'valid', value: ref };
}

/** Checks the body of a create or replace. */
export function checkWrite(kind: ObjectRef['kind'], body: unknown): Checked<CheckedWrite> {
  const write = check(GatewayWrite, body, '');
  if (write.kind === 'invalid') return write;
  const { annotations, owner } = write.value;
  const bytes = Buffer.byteLength(JSON.stringify(write.value));
  if (bytes > MAX_OBJECT_BYTES) return invalid('spec', `${bytes} bytes`, `at most ${MAX_OBJECT_BYTES}`);
  switch (kind) {
    case 'anchor':
      return map(check(AnchorSpec, write.value.spec, 'spec'), (spec) => ({ kind, spec, annotations, owner }));
    case 'arm':
      return map(check(ArmSpec, write.value.spec, 'spec'), (spec) => ({ kind, spec, annotations, owner }));
    case 'route': {
      const spec = check(RouteSpec, write.value.spec, 'spec');
      if (spec.kind === 'invalid') return spec;
      const { stable, canary, baseline } = spec.value.weights;
      if (Math.abs(stable + canary + baseline - 100) > WEIGHT_TOLERANCE) {
        return invalid(
          'spec.weights',
          spec.value.weights,
          `the weights must sum to 100, not ${stable + canary + baseline}`,
        );
      }
      return { kind: 'valid', value: { kind, spec: spec.value, annotations, owner } };
    }
  }
}

function check<Schema extends z.ZodType>(schema: Schema, value: unknown, field: string): Checked<z.infer<Schema>> {
  const result = schema.safeParse(value);
  if (result.success) return { kind: 'valid', value: result.data };
  const issue = result.error.issues[0];
  const path = issue?.path ?? [];
  const at = path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key], value);
  return invalid([...(field ? [field] : []), ...path].join('.') || 'body', at, issue?.message ?? 'not valid');
}

function invalid(field: string, value: unknown, remedy: string): { kind: 'invalid'; message: string } {
  const shown = (JSON.stringify(value) ?? 'missing').slice(0, 200);
  return { kind: 'invalid', message: `${field} is ${shown}: ${remedy}` };
}

function map<T, R>(checked: Checked<T>, change: (value: T) => R): Checked<R> {
  return checked.kind === 'valid' ? { kind: 'valid', value: change(checked.value) } : checked;
}
