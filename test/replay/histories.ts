import { createRequire } from 'node:module';

/** The folder of the sources, for the stored histories are not built: dist/test/replay → test/replay. */
export const HISTORIES = new URL('../../../test/replay/histories/', import.meta.url);

/** A history as plain JSON: 64-bit numbers and bytes as text, enums by their names. */
export interface StoredHistory {
  readonly workflowId: string;
  readonly history: { readonly events: readonly Readonly<Record<string, unknown>>[] };
}

interface HistoryType {
  toObject(history: unknown, options: object): StoredHistory['history'];
  fromObject(stored: StoredHistory['history']): unknown;
}

/**
 * Temporal's own message types. Not the SDK's `historyToJSON` and `historyFromJSON`: in 1.24.0 they fail with "type must
 * be a Type" when npm gives `@temporalio/common` and `@temporalio/proto` a copy of protobufjs each.
 */
const { temporal } = createRequire(import.meta.url)('@temporalio/proto') as {
  temporal: { api: { history: { v1: { History: HistoryType } } } };
};
const { History } = temporal.api.history.v1;

export function toStored(workflowId: string, history: unknown): StoredHistory {
  return { workflowId, history: History.toObject(history, { longs: String, bytes: String, enums: String }) };
}

/** What `Worker.runReplayHistory` takes. */
export function fromStored({ history }: StoredHistory): unknown {
  return History.fromObject(history);
}
