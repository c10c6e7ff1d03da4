import { setTimeout as sleep } from 'node:timers/promises';
import type { Row, Runs } from '../runs.js';

const EVERY_MS = 700;
/** The pause is so many times as long as the question took: lists of many queues leave Temporal time for what matters more. */
const REST = 3;
const AFTER_ERROR_MS = 3000;
export const IN_FLIGHT = 300;
export const ENDED_LATELY = 20;

export type RowsListener = (rows: readonly Row[], seq: number) => void;

/** Asks for the list as long as somebody watches it: one question for all of them. */
export class ListFollower {
  private readonly listeners = new Set<RowsListener>();
  private abort: AbortController | null = null;
  private rows: readonly Row[] | null = null;
  private text = '';
  private seq = 0;

  constructor(
    private readonly runs: Runs,
    private readonly onTrouble: (text: string) => void,
  ) {}

  follow(listener: RowsListener): () => void {
    this.listeners.add(listener);
    if (this.abort === null) {
      this.abort = new AbortController();
      void this.run(this.abort.signal);
    } else if (this.rows !== null) listener(this.rows, this.seq);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      this.close();
    };
  }

  close(): void {
    this.abort?.abort();
    this.abort = null;
    this.rows = null;
    this.text = '';
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let pauseMs = EVERY_MS;
      const askedMs = performance.now();
      try {
        const rows = await this.runs.everything(IN_FLIGHT, ENDED_LATELY);
        if (signal.aborted) return;
        const text = JSON.stringify(rows);
        if (text !== this.text) {
          this.text = text;
          this.rows = rows;
          this.seq += 1;
          for (const listener of this.listeners) listener(rows, this.seq);
        }
      } catch (error) {
        this.onTrouble(error instanceof Error ? error.message : String(error));
        pauseMs = AFTER_ERROR_MS;
      }
      // An abort ends the pause; the loop sees why.
      await sleep(Math.max(pauseMs, REST * (performance.now() - askedMs)), undefined, { signal }).catch(
        () => undefined,
      );
    }
  }
}
