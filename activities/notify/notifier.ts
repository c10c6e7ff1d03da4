import type { LaneRef } from '../../domain/target.js';

/** A message to people. */
export interface Notification {
  /** The same for every try: a receiver that has seen it drops it. */
  readonly id: string;
  /**
   * `approval-required`, `approval-reminder`, `approval-escalated`, `break-glass`, `held`, `alert`, `resolved`,
   * `rollout-ended`, `rollback-slow`.
   */
  readonly kind: string;
  /** `page`: somebody should get up. */
  readonly severity: 'info' | 'warning' | 'page';
  readonly lane: LaneRef;
  readonly rolloutId: string;
  readonly title: string;
  readonly text: string;
  /** ISO 8601. */
  readonly at: string;
  /** Names of the channels that the policy wants it on. */
  readonly channels: readonly string[];
  /** Groups of people whom it asks or tells; absent: whoever reads the channels. */
  readonly groups?: readonly string[];
}

/** Delivers messages. Throws when one could not be delivered: Temporal tries again, with the same id. */
export interface Notifier {
  notify(notification: Notification): Promise<void>;
}

/** Always the log, and each channel that the message names; one that fails does not keep the others from getting it. */
export function combineNotifiers(notifiers: {
  readonly log: Notifier;
  readonly channels: Readonly<Record<string, Notifier>>;
}): Notifier {
  return {
    async notify(notification) {
      const wanted = notification.channels.map((name) => ({ name, notifier: notifiers.channels[name.toLowerCase()] }));
      const failures: string[] = [];
      await notifiers.log.notify(notification);
      await Promise.all(
        wanted.map(async ({ name, notifier }) => {
          if (notifier === undefined) {
            failures.push(`${name}: no such channel, set SLIPWAY_WEBHOOK_${name.toUpperCase()} on the worker`);
            return;
          }
          try {
            await notifier.notify(notification);
          } catch (error) {
            failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
          }
        }),
      );
      if (failures.length > 0) throw new Error(`not delivered to ${failures.join('; ')}`);
    },
  };
}
