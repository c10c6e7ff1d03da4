import type { Notifier } from './notifier.js';

/** What of a logger is used here: pino's shape. */
export interface NoticeLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Every message stands in the worker's log, whatever else is configured. */
export function createLogNotifier(log: NoticeLog): Notifier {
  return {
    async notify({ title, severity, ...fields }) {
      const line = { notification: { severity, ...fields } };
      if (severity === 'info') log.info(line, title);
      else log.warn(line, title);
    },
  };
}
