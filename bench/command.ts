import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { SLIPWAY } from '../tools/stack.js';
import { median } from './numbers.js';

/** Cold start of `slipway --help`, and of Node itself on this machine, ms: medians. */
export async function measureCommand(runs: number): Promise<{ readonly helpMs: number; readonly nodeMs: number }> {
  const time = async (args: readonly string[]): Promise<number> => {
    const begun = performance.now();
    await promisify(execFile)(process.execPath, args);
    return performance.now() - begun;
  };
  const help: number[] = [];
  const node: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    node.push(await time(['-e', '']));
    help.push(await time([SLIPWAY, '--help']));
  }
  return { helpMs: median(help), nodeMs: median(node) };
}
