// STUB-BY-LEAD
import type { LaneRef } from '../../domain/target.js';
export interface Notification { readonly id: string; readonly kind: string; readonly severity: 'info' | 'warning' | 'page'; readonly lane: LaneRef; readonly rolloutId: string; readonly title: string; readonly text: string; readonly at: string; readonly channels: readonly string[] }
export interface Notifier { notify(n: Notification): Promise<void> }
export function combineNotifiers(deps: { log: Notifier; channels: Record<string, Notifier> }): Notifier { return { async notify(n) { await deps.log.notify(n); for (const c of n.channels) await deps.channels[c]?.notify(n); } }; }
