import { z } from 'zod';
import type { KubeObject } from '../kube-client.js';
import { FIELD_MANAGER } from '../resources.js';

/** Where nobody says that a change of shares was taken, it is given time for that too. */
export const UNSEEN_DRAIN_MS = 8000;

const Managers = z.array(
  z.looseObject({ manager: z.string().optional(), time: z.string().optional(), subresource: z.string().optional() }),
);

/** When Slipway last wrote an object, by the API server's clock; null where it never did. */
export function lastWriteMs({ metadata }: KubeObject): number | null {
  const own = Managers.parse(metadata['managedFields'] ?? []).find(
    ({ manager, subresource }) => manager === FIELD_MANAGER && subresource === undefined,
  );
  return own?.time === undefined ? null : Date.parse(own.time);
}
