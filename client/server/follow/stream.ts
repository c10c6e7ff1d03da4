import type { StreamEvent } from '../contract.js';

const encoder = new TextEncoder();
/** Nobody has taken what was sent for so long: the connection is dead, whatever the kernel believes. */
const STUCK_MS = 60_000;

/** An event on its way: its text, and its id if it has one. */
export interface Frame {
  readonly event: StreamEvent['event'];
  readonly bytes: Uint8Array;
}

export function frame(event: StreamEvent, id: string | null = null): Frame {
  const text = `${id === null ? '' : `id: ${id}\n`}event: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`;
  return { event: event.event, bytes: encoder.encode(text) };
}

/**
 * One open stream of server-sent events. An event is a whole state, so of each kind only the newest waits: a slow client
 * costs one state of each kind, never a queue.
 */
export class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  private readonly waiting = new Map<StreamEvent['event'], Uint8Array>();
  private wake: (() => void) | null = null;
  private ended = false;
  private takenMs = Date.now();

  constructor(
    private readonly onClose: () => void,
    retryMs: number,
  ) {
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => controller.enqueue(encoder.encode(`retry: ${retryMs}\n\n`)),
        pull: async (controller) => {
          this.takenMs = Date.now();
          while (this.waiting.size === 0 && !this.ended) await new Promise<void>((resolve) => (this.wake = resolve));
          const next = this.waiting.entries().next().value;
          if (next !== undefined) {
            this.waiting.delete(next[0]);
            controller.enqueue(next[1]);
          } else controller.close();
          this.takenMs = Date.now();
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 1 },
    );
  }

  /** Sends an event, in place of one of its kind that nobody has taken yet. */
  send({ event, bytes }: Frame): void {
    if (this.ended) return;
    this.waiting.delete(event);
    this.waiting.set(event, bytes);
    this.wake?.();
  }

  /** Whether nobody takes what is sent. */
  get stuck(): boolean {
    return this.waiting.size > 0 && Date.now() - this.takenMs > STUCK_MS;
  }

  /** Sends a last event and closes. */
  end(reason: string): void {
    this.send(frame({ event: 'end', data: { reason } }));
    this.close();
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.wake?.();
    this.onClose();
  }
}
