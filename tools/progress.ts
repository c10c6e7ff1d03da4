import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Says on stderr what is being done, keeps saying how far it is, and says how long it took.
 * The size shown is that of the folder the work fills.
 */
export async function withProgress<T>(label: string, folder: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const elapsed = (): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;
  const live = process.stderr.isTTY;
  const say = (text: string): void => {
    process.stderr.write(live ? `\r\x1b[2Kslipway: ${label} … ${text}` : `slipway: ${label} … ${text}\n`);
  };

  process.stderr.write(`slipway: ${label} …${live ? '' : '\n'}`);
  const ticker = setInterval(
    () => {
      void sizeOf(folder).then((bytes) => {
        say(bytes === 0 ? elapsed() : `${elapsed()}, ${(bytes / 1e6).toFixed(0)} MB`);
      });
    },
    live ? 500 : 15_000,
  );
  try {
    const result = await work();
    say(`done in ${elapsed()}`);
    return result;
  } catch (error) {
    say(`failed after ${elapsed()}`);
    throw error;
  } finally {
    clearInterval(ticker);
    if (live) process.stderr.write('\n');
  }
}

/** The bytes in all files of a folder; what disappears while it is measured counts as nothing. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const sizes = entries.map((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sizeOf(path);
    return stat(path).then(
      (file) => file.size,
      () => 0,
    );
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
