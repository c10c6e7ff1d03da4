/** Trails and live stages of real rollouts: a real Temporal server, worker and gateway, and the command as people run it. */
import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultPayloadConverter } from '@temporalio/common';
import { Slipway } from '../../client/slipway.js';
import type { LiveStage } from '../../domain/live.js';
import type { TrailEntry } from '../../domain/trail.js';
import { parseLive } from '../../formats/live.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { startTraffic } from '../../tools/traffic.js';
import { assertRefused, serviceFolder, Terminal } from '../support/cli.js';

interface Verified {
  readonly trails: readonly {
    readonly name: string;
    readonly level: string;
    readonly closed: boolean;
    readonly problems: readonly string[];
    readonly vouched: readonly string[];
    readonly head: { readonly hash: string; readonly size: number } | null;
  }[];
}

describe('trails of real rollouts', () => {
  let stack: Stack;
  let client: Slipway;
  let at: Terminal;
  let rolloutId: string;
  let folder: string;
  const seen: LiveStage[] = [];

  /** What the watch of a rollout tells with its heartbeats, as Temporal shows it. */
  async function liveOf(id: string): Promise<LiveStage | null> {
    const { raw } = await client.client.workflow.getHandle(`rollout/local/audited/${id}`).describe();
    for (const { activityType, heartbeatDetails } of raw.pendingActivities ?? []) {
      const [payload] = heartbeatDetails?.payloads ?? [];
      if (activityType?.name === 'watch' && payload != null)
        return parseLive(defaultPayloadConverter.fromPayload(payload));
    }
    return null;
  }

  before(async () => {
    stack = await startStack();
    await stack.startWorker();
    client = await Slipway.connect(stack.env);
    const dir = await serviceFolder(stack, {
      service: 'audited',
      gateway: stack.adminUrl,
      more: ['stages: [{ weight: 50%, for: 14s }]'],
    });
    at = new Terminal(stack, client).in(dir);
    folder = path.join(stack.folder, 'data');
    await at.expect(0, 'deploy', '--tag', 'v1', '--no-git', '--wait', '--json');
    const load = startTraffic({ url: `${stack.dataUrl}/local/audited/`, perSecond: 40 });
    try {
      rolloutId = await at.deploy('--tag', 'v2');
      for (let outcome = null; outcome === null; await sleep(300)) {
        ({ outcome } = await at.view(rolloutId));
        const live = await liveOf(rolloutId);
        if (live !== null) seen.push(live);
      }
    } finally {
      await load.stop();
    }
    await at.expect(0, 'watch', rolloutId);
  });
  after(async () => {
    await client.close();
    await stack.stop();
  });

  /** Another data folder, a copy that a test may spoil. */
  async function copied(name: string): Promise<{ readonly there: Terminal; readonly data: string }> {
    const data = path.join(stack.folder, name);
    await cp(folder, data, { recursive: true });
    return { there: at.in(stack.folder, { SLIPWAY_DATA_DIR: data }), data };
  }

  async function segmentsIn(data: string): Promise<readonly string[]> {
    const trail = path.join(data, 'trail/rollout/local/audited', rolloutId);
    const [run = ''] = await readdir(trail);
    return (await readdir(path.join(trail, run))).toSorted().map((name) => path.join(trail, run, name));
  }

  it('a watch shows in Temporal what it has seen, while it watches', () => {
    const last = seen.at(-1) ?? assert.fail('no heartbeat told anything');
    assert.equal(last.stage, 'stage-1');
    assert.ok(
      seen.some(({ points }) => points.length >= 2),
      JSON.stringify(seen),
    );
    assert.ok(
      last.points.some(({ canary }) => canary.requests > 0),
      JSON.stringify(last),
    );
    const sizes = new Set(seen.map(({ points }) => points.length));
    assert.ok(sizes.size > 1, 'the points did not grow');
  });

  it('is whole: the log of heads and Temporal both vouch for it', async () => {
    const { trails } = await at.json<Verified>('audit', 'verify', rolloutId);
    assert.equal(trails.length, 1);
    assert.deepEqual([trails[0]?.level, trails[0]?.closed], ['whole', true]);
    assert.match(trails[0]?.vouched.join(' ') ?? '', /the log of heads: \d+ entries Temporal: \d+ entries/);
    const said = await at.expect(0, 'audit', 'verify', rolloutId);
    assert.match(said.out, new RegExp(`^whole {2}rollout/local/audited/${rolloutId}: \\d+ entries, closed \\(`));
    const all = await at.json<Verified>('audit', 'verify', '--all');
    assert.deepEqual(
      all.trails.map(({ level }) => level),
      ['whole', 'whole', 'whole'],
      JSON.stringify(all, null, 1),
    );
    assert.equal(all.trails.at(-1)?.name, 'heads');
  });

  it('tells what was asked, planned, set, judged and how it ended', async () => {
    const { entries } = await at.json<{ entries: readonly TrailEntry[] }>('audit', 'show', rolloutId);
    const types = entries.map(({ type }) => type);
    for (const type of ['request', 'assessment', 'plan', 'phase', 'weights', 'verdict', 'effect'] as const)
      assert.ok(types.includes(type), type);
    assert.equal(types.at(-1), 'outcome');
    const verdict = entries.find(({ type }) => type === 'verdict');
    assert.match(String(verdict?.data['evidence']), /^sha256:[0-9a-f]{64}$/);
    assert.match(String(entries.at(-1)?.data['record']), /^sha256:[0-9a-f]{64}$/);
    const { out } = await at.expect(0, 'audit', 'show', rolloutId);
    assert.match(out, /^ {3}0 {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}request /);
  });

  it('exported and damaged, each damage is named', async () => {
    const file = path.join(stack.folder, 'trail.jsonl');
    await at.expect(0, 'audit', 'export', rolloutId, '--out', file);
    const text = await readFile(file, 'utf8');
    assert.equal((await at.expect(0, 'audit', 'export', rolloutId)).out, text);
    await at.expect(0, 'audit', 'verify', file);
    const lines = text.trimEnd().split('\n');

    const damaged = path.join(stack.folder, 'damaged.jsonl');
    await writeFile(damaged, `${lines.toSpliced(3, 1).join('\n')}\n`);
    assert.match((await at.expect(1, 'audit', 'verify', damaged)).out, /^ {2}line 4: entry 3 is missing/m);
    await writeFile(damaged, `${lines.slice(0, -2).join('\n')}\n`);
    assert.match((await at.expect(1, 'audit', 'verify', damaged)).out, /the last 2 are cut off \(the log of heads\)/);

    // Where nothing is kept that could vouch for it.
    const alone = at.in(stack.folder, { SLIPWAY_DATA_DIR: path.join(stack.folder, 'empty') });
    const said = await alone.expect(7, 'audit', 'verify', file);
    assert.match(said.out, /^cannot tell /);
    const { trails } = await at.json<Verified>('audit', 'verify', file);
    const head = `${trails[0]?.head?.hash}:${trails[0]?.head?.size}`;
    await alone.expect(0, 'audit', 'verify', file, '--head', head);
    await alone.expect(1, 'audit', 'verify', damaged, '--head', head);
  });

  it('a segment that was taken away, changed, or cut shows', async () => {
    const { there, data } = await copied('spoiled');
    const segments = await segmentsIn(data);
    const last = segments.at(-1) ?? '';
    const text = await readFile(last, 'utf8');
    await writeFile(last, text.replace('completed', 'COMPLETED'));
    assert.match((await there.expect(1, 'audit', 'verify', rolloutId)).out, /entry \d+ was changed/);
    await writeFile(last, text.slice(0, -10));
    assert.match((await there.expect(1, 'audit', 'verify', rolloutId)).out, /is cut off/);
    await rm(last);
    assert.match((await there.expect(1, 'audit', 'verify', rolloutId)).out, /cut off \(the log of heads\)/);
    // Also where the log of heads is gone with it: Temporal still knows.
    await rename(path.join(data, 'trail/heads'), path.join(data, 'heads-taken-away'));
    assert.match((await there.expect(1, 'audit', 'verify', rolloutId)).out, /cut off \(Temporal\)/);
    await mkdir(path.join(data, 'trail/heads'), { recursive: true });
    assert.match((await there.expect(1, 'audit', 'verify', '--all')).out, /its head is not listed \(Temporal\)/);
  });

  it('a trail that is gone as a whole shows', async () => {
    const { there, data } = await copied('gone');
    await rm(path.join(data, 'trail/rollout/local/audited', rolloutId), { recursive: true });
    const all = await there.expect(1, 'audit', 'verify', '--all');
    assert.match(
      all.out,
      new RegExp(
        `^DAMAGED {2}rollout/local/audited/${rolloutId}: no entry\\n {2}the whole trail of \\d+ entries is gone`,
        'm',
      ),
    );
    await there.expect(1, 'audit', 'verify', rolloutId);
  });

  it('wrong use is said with the remedy', async () => {
    assertRefused(await at.run('audit', 'verify'), 2, /what to verify/);
    assertRefused(await at.run('audit', 'erase', rolloutId), 2, /can't erase/);
    assertRefused(await at.run('audit', 'verify', rolloutId, '--head', 'abc'), 2, /--head "abc" is no head/);
    assertRefused(await at.run('audit', 'show', rolloutId, '--all'), 2, /--all does not go with audit show/);
    assertRefused(await at.run('audit', 'verify', '0123456789abcdef'), 2, /there is no trail of 0123456789abcdef/);
    assertRefused(await at.run('audit', 'verify', '../../etc'), 2, /there is no trail/);
    assertRefused(await at.run('audit', 'show', rolloutId, 'b'), 2, /about one rollout/);
  });

  it('is there when Temporal has forgotten the rollout, and so is its record', async () => {
    await client.client.workflowService.deleteWorkflowExecution({
      namespace: client.client.options.namespace,
      workflowExecution: { workflowId: `rollout/local/audited/${rolloutId}` },
    });
    for (let known = true; known; await sleep(200)) {
      const rollouts = await client.list(`SlipwayRolloutId = '${rolloutId}'`, 1);
      known = rollouts.length > 0;
    }
    const { out } = await at.expect(0, 'status', `local/audited/${rolloutId}`);
    assert.match(out, /^audited in local: audited:v2 {2}completed/);
    const { trails } = await at.json<Verified>('audit', 'verify', rolloutId);
    assert.deepEqual([trails[0]?.level, trails[0]?.vouched.length], ['whole', 1]);
  });
});
