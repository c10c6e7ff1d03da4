import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseAnalysis } from '../../formats/slipway-yaml.js';
import { ownSample } from '../../bench/canary/sets.js';
import { KINDS } from '../../bench/canary/kinds.js';
import { assertHarmless, assertRefused, documentOf, runCommand, story } from '../support/cli.js';
import { ARMS, recordedInput } from '../support/recorded.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-noise-'));
});
after(() => rm(folder, { recursive: true, force: true }));

const noise = (...args: readonly string[]) => runCommand(['noise', ...args], folder);

/** Scenarios of a kind: of a release against itself, say. */
async function scenarios(name: string, kindName: string, count: number): Promise<void> {
  const kind = KINDS.find((one) => one.name === kindName);
  assert.ok(kind !== undefined, kindName);
  const lines = Array.from({ length: count }, (_, i) => JSON.stringify(ownSample(5, kind, i).document));
  await writeFile(path.join(folder, name), `${lines.join('\n')}\n`);
}

describe('noise', () => {
  it('prints what analysis.noiseFloor takes: more where arms that are alike differ more', async () => {
    await scenarios('quiet.jsonl', 'same, no pod noise', 20);
    const quiet = documentOf(await noise('.', '--json')) as { noiseFloor: { latencyLogSd: number; pairs: number } };
    await rm(path.join(folder, 'quiet.jsonl'));
    await scenarios('noisy.jsonl', 'same, 6 % pod noise', 20);
    const said = await noise('.');
    assert.equal(said.code, 0, story(said));
    assertHarmless(said);
    assert.match(said.out, /^noiseFloor:\n {2}pairs: \d+\n {2}p99: [\d.]+%\n {2}errorRate: [\d.]+%\n$/);
    assert.match(said.err, /learned from \d+ pairs of arms that were alike/);
    const percentage = Number(/p99: ([\d.]+)%/.exec(said.out)?.[1]);
    assert.ok(percentage > 4 && percentage < 13, said.out);
    assert.ok(100 * quiet.noiseFloor.latencyLogSd < percentage / 2, JSON.stringify(quiet));
    await rm(path.join(folder, 'noisy.jsonl'));
  });

  it('prints the noise of further metrics, which slipway.yaml reads', async () => {
    const kind = KINDS.find((one) => one.name === 'same, no pod noise')!;
    const lines = Array.from({ length: 8 }, (_, i) => {
      const document = ownSample(6, kind, i).document as { t_s: number[]; canary: object; baseline: object };
      const gauge = (level: number) => ({
        'queue "depth"': document.t_s.map((_, k) => level + (k % 3)),
        'heat\u202E': document.t_s.map((_, k) => level / 10 + (k % 2)),
      });
      return JSON.stringify({
        ...document,
        canary: { ...document.canary, metrics: gauge(i % 2 === 0 ? 50 : 45) },
        baseline: { ...document.baseline, metrics: gauge(i % 2 === 0 ? 45 : 50) },
        metrics: [{ name: 'heat\u202E', tolerance: { difference: 5 } }],
      });
    });
    await writeFile(path.join(folder, 'gauges.jsonl'), `${lines.join('\n')}\n`);
    const said = await noise('.');
    await rm(path.join(folder, 'gauges.jsonl'));
    assert.equal(said.code, 0, story(said));
    assertHarmless(said);
    assert.match(
      said.out,
      /\n {2}metrics:\n {4}"queue \\"depth\\"": \{ pairs: 8, ratio: (9|10)(\.\d+)?% \}\n {4}"heat\\u202e": \{ pairs: 8, difference: 0\.[345]\d* \}\n$/,
    );
    assert.match(said.err, /and 1\.3\d* times the queue "depth" \(8 pairs\)/);
    const read = parseAnalysis(said.out, 'noise.yaml');
    assert.ok(read.ok, JSON.stringify(read));
    const sampled = { scrapeIntervalMs: 15_000, compareWith: 'baseline', noiseFloor: null } as const;
    const learned = read.analysisFor(sampled).noiseFloor?.metrics;
    assert.deepEqual(Object.keys(learned ?? {}), ['queue "depth"', 'heat\u202E']);
  });

  it('learns of good rollouts only, and refuses what is too little, with the remedy', async () => {
    const bad = recordedInput({ ...ARMS.slow, budgetShare: 1 });
    for (let i = 0; i < 6; i++) await writeFile(path.join(folder, `${i}.json`), JSON.stringify(bad));
    assertRefused(await noise('.'), 2, /holds 0 stages that were promoted .* 5 are needed/);
    assertRefused(await noise('nowhere'), 2, /there is no folder nowhere/);
  });
});
