import type { RolloutView } from '../../../domain/rollout.js';
import type { RunDocument, StreamEvent } from '../contract.js';

const encoder = new TextEncoder();
/** Nobody has taken what was sent for so long: the connection is dead, whatever the kernel believes. */
const STUCK_MS = 60_000;

/** An event on its way: its text, in pieces that streams may share, with its id if it has one. */
export interface Frame {
  readonly event: StreamEvent['event'];
  readonly pieces: readonly Uint8Array[];
}

export function frame(event: StreamEvent, id: string | null = null): Frame {
  return { event: event.event, pieces: [encoder.encode(`${head(event.event, id)}${JSON.stringify(event.data)}\n\n`)] };
}

/** Views as JSON, for as long as the views are kept. */
const views = new WeakMap<RolloutView, Uint8Array>();

/** The event `run`. Nearly all of it is the view, which is written once for all who watch; the rest is each person's own. */
export function runFrame({ view, ...own }: RunDocument, id: string | null = null): Frame {
  const shared = views.get(view) ?? encoder.encode(JSON.stringify(view));
  views.set(view, shared);
  const before = encoder.encode(`${head('run', id)}{"view":`);
  return { event: 'run', pieces: [before, shared, encoder.encode(`,${JSON.stringify(own).slice(1)}\n\n`)] };
}

function head(event: StreamEvent['event'], id: string | null): string {
  return `${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: `;
}

/**
 * One open stream of server-sent events. An event is a whole state, so of each kind only the newest waits: a slow client
 * costs one state of each kind, never a queue.
 */
export class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  private readonly waiting = new Map<StreamEvent['event'], Frame['pieces']>();
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
            for (const piece of next[1]) controller.enqueue(piece);
          } else controller.close();
          this.takenMs = Date.now();
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 1 },
    );
  }

  /** Sends an event, in place of one of its kind that nobody has taken yet. */
  send({ event, pieces }: Frame): void {
    if (this.ended) return;
    this.waiting.delete(event);
    this.waiting.set(event, pieces);
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
