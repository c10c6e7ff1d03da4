import type { Notifier } from './notifier.js';

export interface WebhookOptions {
  /** For messages: the address itself may hold a secret and is never shown. */
  readonly name: string;
  readonly url: string;
  /** Limit for the whole call, ms. @default 10000 */
  readonly timeoutMs?: number;
}

/** POSTs the message as JSON, with its id as `Idempotency-Key`; anything but 2xx is tried again. */
export function createWebhookNotifier({ name, url, timeoutMs = 10_000 }: WebhookOptions): Notifier {
  return {
    async notify(notification) {
      let status: number;
      try {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': notification.id },
          body: JSON.stringify(notification),
          signal: AbortSignal.timeout(timeoutMs),
          redirect: 'error',
        });
        status = response.status;
        await response.body?.cancel();
      } catch (error) {
        // The error's own text, and its cause, name the address.
        const timedOut = error instanceof Error && error.name === 'TimeoutError';
        // oxlint-disable-next-line preserve-caught-error
        throw new Error(
          timedOut ? `webhook ${name} did not answer within ${timeoutMs} ms` : `webhook ${name} can't be reached`,
        );
      }
      if (status < 200 || status > 299) throw new Error(`webhook ${name} answered ${status}`);
    },
  };
}
