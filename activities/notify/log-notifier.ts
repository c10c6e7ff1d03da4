// STUB-BY-LEAD
import type { Notifier } from './notifier.js';
export function createLogNotifier(logger: { info(meta: object, text: string): void }): Notifier { return { async notify(n) { logger.info({ ...n }, n.title); } }; }
