import { mkdir, open, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

/** A file that has grown to this size is put aside: stages of days at one scrape a second fit. */
const MAX_BYTES = 64 * 1024 * 1024;
/** What is kept in memory, ms. */
const KEEP_MS = 24 * 3_600_000;

const Row = z.object({
  t: z.number(),
  arms: z.array(
    z.object({
      arm: z.enum(['stable', 'canary', 'baseline']),
      version: z.string(),
      requests: z.number(),
      errors: z.number(),
      le: z.array(z.number().nullable()),
      buckets: z.array(z.number()),
    }),
  ),
});
/** One scrape of one lane: the counters of each arm at `t` (ms since the epoch). */
export type ScrapeRow = z.infer<typeof Row>;

/**
 * Scrapes of one lane, a line each, in a file that all workers share: a watch that goes on for a dead one sees what that
 * one saw. Lines are appended whole; a line that was torn by a crash is passed over.
 */
export class ScrapeFile {
  private rows: ScrapeRow[] = [];
  private offset = 0;
  private rest = '';
  private identity = 0;
  private reading: Promise<unknown> = Promise.resolve();

  constructor(private readonly file: string) {}

  /** Everything that is known by now, oldest first. Reads only what has come since the last call. */
  read(nowMs: number): Promise<readonly ScrapeRow[]> {
    // One after the other: two that read at once would both move the place where the next one goes on.
    const read = this.reading.then(() => this.readOn(nowMs));
    this.reading = read.catch(() => undefined);
    return read;
  }

  private async readOn(nowMs: number): Promise<readonly ScrapeRow[]> {
    let text = '';
    try {
      const handle = await open(this.file, 'r');
      try {
        const { size, ino } = await handle.stat();
        if (ino !== this.identity || size < this.offset) {
          this.identity = ino;
          this.offset = 0;
          this.rest = '';
        }
        const buffer = Buffer.alloc(size - this.offset);
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, this.offset);
        this.offset += bytesRead;
        text = buffer.subarray(0, bytesRead).toString('utf8');
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    const fresh = lines.flatMap((line) => rowOf(line));
    if (fresh.length > 0) {
      const kept = [...this.rows, ...fresh].filter((row) => row.t > nowMs - KEEP_MS);
      this.rows = kept.sort((a, b) => a.t - b.t);
    }
    return this.rows;
  }

  async append(row: ScrapeRow): Promise<void> {
    await mkdir(path.dirname(this.file), { recursive: true });
    const size = await stat(this.file).then(
      (found) => found.size,
      () => 0,
    );
    if (size > MAX_BYTES) await rename(this.file, `${this.file}.old`);
    const handle = await open(this.file, 'a');
    try {
      // The line break before it: a torn line of a worker that died must not swallow this one.
      await handle.write(`${size > 0 ? '\n' : ''}${JSON.stringify(row)}\n`);
    } finally {
      await handle.close();
    }
  }
}

function rowOf(line: string): readonly ScrapeRow[] {
  if (line === '') return [];
  try {
    const row = Row.safeParse(JSON.parse(line));
    return row.success ? [row.data] : [];
  } catch {
    // A torn line: its worker died while it wrote it.
    return [];
  }
}
