/** What streams hold in memory: there are many of them, and views are large. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Recent } from '../../client/server/follow/recent.js';
import { EventStream, frame, runFrame } from '../../client/server/follow/stream.js';
import { documentOf, waiting } from '../web/documents.js';

describe('an event of a rollout', () => {
  const run = waiting();

  it('is the whole document, whatever pieces it is sent in', () => {
    const text = (pieces: readonly Uint8Array[]): string => Buffer.concat(pieces).toString('utf8');
    const [id = '', event, data = '', ...rest] = text(runFrame(run, 'abc:7').pieces).split('\n');
    assert.deepEqual([id, event, rest], ['id: abc:7', 'event: run', ['', '']]);
    assert.deepEqual(JSON.parse(data.replace(/^data: /, '')), JSON.parse(JSON.stringify(run)));
    assert.doesNotMatch(text(runFrame(run).pieces), /^id:/m);
  });

  it('shares its view with the events of all others who watch, and only of that view', () => {
    const largest = (of: typeof run): Uint8Array | undefined =>
      runFrame(of).pieces.toSorted((one, other) => other.length - one.length)[0];
    const mine = largest(run);
    assert.ok(mine !== undefined && mine.length > 1000);
    assert.equal(largest({ ...run, offers: [], asOf: '2026-07-01T12:00:00Z' }), mine);
    const changed = documentOf({ ...run.view, paused: true });
    assert.match(Buffer.from(largest(changed) ?? []).toString('utf8'), /"paused":true/);
  });

  it('reaches its reader whole and in order, with the events around it', async () => {
    const stream = new EventStream(() => undefined, 1000);
    const reader = stream.body.getReader();
    const decoder = new TextDecoder();
    let text = '';
    stream.send(runFrame(run, 'abc:1'));
    stream.send(frame({ event: 'ping', data: { at: 'now' } }));
    stream.end('enough');
    for (let part = await reader.read(); !part.done; part = await reader.read())
      text += decoder.decode(part.value, { stream: true });
    const [retry, first = '', ...others] = text.trimEnd().split('\n\n');
    assert.equal(retry, 'retry: 1000');
    assert.deepEqual(JSON.parse(first.split('\ndata: ')[1] ?? ''), JSON.parse(JSON.stringify(run)));
    assert.deepEqual(
      others.map((one) => one.split('\n')[0]),
      ['event: ping', 'event: end'],
    );
  });
});

describe('what was learned a moment ago', () => {
  it('is let go of when it is old, also where it was renewed meanwhile or is never asked for again', () => {
    let nowMs = 0;
    const recent = new Recent<string>(1000, () => nowMs);
    recent.set('a', 'a1');
    recent.set('b', 'b1');
    nowMs = 600;
    recent.set('a', 'a2');
    assert.equal(recent.get('b'), 'b1');
    nowMs = 1000;
    assert.equal(recent.get('b'), undefined);
    assert.equal(recent.get('a'), 'a2', 'its age counts from the last time');
    assert.equal(recent.size, 1);
    recent.delete('a');
    assert.equal(recent.get('a'), undefined);
    for (let n = 0; n < 5000; n += 1) {
      nowMs += 10;
      recent.set(`n${n}`, '');
    }
    assert.equal(recent.size, 100);
  });
});
