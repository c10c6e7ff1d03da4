import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { EvidenceDamaged, EvidenceMissing } from '../../../activities/evidence/evidence-store.js';
import { createObjectEvidence } from '../../../activities/evidence/object-evidence.js';
import { Refused, Unavailable } from '../../../activities/failures.js';
import { ObjectStoreUnusable } from '../../../activities/objects/object-store.js';
import { createS3Objects } from '../../../activities/objects/s3-objects.js';
import type { S3Config } from '../../../activities/objects/s3-objects.js';
import { createTrailStore } from '../../../activities/trail/trail-store.js';
import { genesis, headAfter, nextEntry } from '../../../domain/trail.js';
import type { TrailEntry } from '../../../domain/trail.js';
import { readTrail } from '../../../formats/trail-file.js';
import { startS3Standin } from '../../support/s3-standin.js';
import type { S3Fault, S3Standin } from '../../support/s3-standin.js';

const KEY = { bucket: 'records', accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'a/secret+key', region: 'eu-central-1' };
const LOG = 'rollout/production/checkout/3f2a9c1e5b7d8f00';

let s3: S3Standin;
let config: S3Config;
/** Where nobody listens any more. */
let gone: string;
before(async () => {
  const other = await startS3Standin(KEY);
  gone = other.url;
  await other.stop();
  s3 = await startS3Standin({ ...KEY, pageSize: 3 });
  config = { ...KEY, prefix: 'team/slipway/', endpoint: s3.url, sessionToken: null, timeoutMs: 400 };
});
after(() => s3.stop());
beforeEach(() => {
  s3.objects.clear();
  s3.requests.length = 0;
  s3.fault = () => null;
  s3.ignoresConditions = false;
});

function chain(size: number): readonly TrailEntry[] {
  const entries: TrailEntry[] = [];
  for (let head = genesis(LOG); entries.length < size; head = headAfter(entries.at(-1)!))
    entries.push(
      nextEntry(head, {
        at: '2026-11-21T20:00:00.000Z',
        type: 'phase',
        actor: null,
        text: `step ${head.size} ü`,
        data: {},
      }),
    );
  return entries;
}

/** Does something wrong with the first requests of a method. */
function first(times: number, method: string, fault: S3Fault): void {
  let left = times;
  s3.fault = (request) => (request.method === method && left-- > 0 ? fault : null);
}

describe('a bucket', () => {
  test('every request is signed, and what was kept comes back', async () => {
    const objects = createS3Objects(config);
    await objects.check();
    assert.equal(await objects.create('a/one', 'größer'), 'created');
    assert.equal(Buffer.from((await objects.read('a/one'))!).toString(), 'größer');
    assert.equal(await objects.read('a/two'), null);
    assert.ok(s3.objects.has('team/slipway/a/one'));
    assert.ok(s3.requests.every(({ headers }) => headers.authorization?.includes('/eu-central-1/s3/aws4_request')));
    assert.doesNotMatch(JSON.stringify(s3.requests), /a\/secret\+key/);
  });

  test('nothing is written over', async () => {
    const objects = createS3Objects(config);
    const results = await Promise.all([1, 2, 3, 4].map((n) => objects.create('one', String(n))));
    assert.deepEqual(results.toSorted(), ['created', 'exists', 'exists', 'exists']);
  });

  test('listings go on over all pages', async () => {
    const objects = createS3Objects(config);
    for (const key of ['x/1', 'x/2', 'x/a/3', 'x/a/4', 'x/b/5', 'x/c/6', 'x/d/7', 'y/8'])
      await objects.create(key, key);
    assert.deepEqual(await objects.keys('x/'), ['x/1', 'x/2', 'x/a/3', 'x/a/4', 'x/b/5', 'x/c/6', 'x/d/7']);
    assert.deepEqual(await objects.keys('x/', 'x/b/5'), ['x/c/6', 'x/d/7']);
    assert.deepEqual(await objects.folders('x/'), ['a', 'b', 'c', 'd']);
    assert.deepEqual(await objects.folders('z/'), []);
  });

  for (const [name, fault] of [
    ['SlowDown', { kind: 'error', status: 503, code: 'SlowDown' }],
    ['InternalError', { kind: 'error', status: 500, code: 'InternalError' }],
    ['429 with Retry-After', { kind: 'error', status: 429, code: 'TooManyRequests', retryAfter: '0.2' }],
    ['a conflicting write', { kind: 'error', status: 409, code: 'ConditionalRequestConflict' }],
    ['no answer', { kind: 'hang-before' }],
  ] as const satisfies readonly (readonly [string, S3Fault])[]) {
    test(`${name}, twice: tried again`, async () => {
      const objects = createS3Objects(config);
      first(2, 'PUT', fault);
      assert.equal(await objects.create('one', '1'), 'created');
      first(1, 'GET', fault);
      assert.equal(Buffer.from((await objects.read('one'))!).toString(), '1');
    });
  }

  test('down for longer: unavailable, with what S3 says; asked to wait long, it is left to the caller', async () => {
    const objects = createS3Objects(config);
    first(99, 'PUT', { kind: 'error', status: 503, code: 'SlowDown' });
    await assert.rejects(objects.create('one', '1'), (error: unknown) => {
      assert.ok(error instanceof Unavailable);
      assert.match(error.message, /s3:\/\/records\/team\/slipway\/ says 503 SlowDown: as the test says/);
      return true;
    });
    assert.equal(s3.requests.length, 3);
    first(99, 'PUT', { kind: 'error', status: 503, code: 'SlowDown', retryAfter: '30' });
    await assert.rejects(
      objects.create('one', '1'),
      (error: unknown) => error instanceof Unavailable && error.retryAfterMs === 30_000,
    );
    assert.equal(s3.requests.length, 4);
    const nowhere = createS3Objects({ ...config, endpoint: gone });
    await assert.rejects(nowhere.read('one'), /can't be reached: .*ECONNREFUSED/);
  });

  test('refusals are not tried again, and tell no secret', async () => {
    const wrong = createS3Objects({ ...config, secretAccessKey: 'another-secret' });
    await assert.rejects(wrong.create('one', '1'), (error: unknown) => {
      assert.ok(error instanceof Refused);
      assert.match(error.message, /403 SignatureDoesNotMatch/);
      assert.doesNotMatch(error.message, /another-secret/);
      return true;
    });
    assert.equal(s3.requests.length, 1);
    await assert.rejects(createS3Objects({ ...config, bucket: 'other' }).read('one'), /404 NoSuchBucket/);
    assert.equal(s3.objects.size, 0);
  });

  test('what can not be used is refused at the start, with the settings', async () => {
    const refused = (change: Partial<S3Config>, text: RegExp) =>
      assert.rejects(createS3Objects({ ...config, ...change }).check(), (error: unknown) => {
        assert.ok(error instanceof ObjectStoreUnusable, String(error));
        assert.match(error.message, text);
        return true;
      });
    await refused({ bucket: 'other' }, /NoSuchBucket.*SLIPWAY_EVIDENCE_STORE/);
    await refused({ accessKeyId: 'nobody' }, /InvalidAccessKeyId.*AWS_\*/);
    await refused({ endpoint: gone }, /can't be reached/);
    s3.ignoresConditions = true;
    await refused({}, /conditional writes \(If-None-Match\) are needed/);
    s3.ignoresConditions = false;
    s3.fault = ({ method, key }) => (method === 'GET' && key === '' ? { kind: 'html' } : null);
    await refused({}, /what answers there is no S3/);
  });
});

describe('in a bucket', () => {
  test('a trail is whole though answers are lost after the write was done', async () => {
    const entries = chain(6);
    for (const fault of [{ kind: 'hang-after' }, { kind: 'reset-after' }] as const) {
      s3.objects.clear();
      const store = createTrailStore(createS3Objects(config));
      first(1, 'PUT', fault);
      await store.append(LOG, 'run-1', entries.slice(0, 2));
      first(1, 'PUT', fault);
      await store.append(LOG, 'run-1', entries);
      const [stored] = await store.read(LOG);
      assert.deepEqual(readTrail(stored!.bytes).damages, []);
      assert.deepEqual(readTrail(stored!.bytes).entries, entries);
      assert.deepEqual(await store.logs(), [LOG]);
    }
  });

  test('heads of two workers at once stand one behind the other', async () => {
    const stores = [1, 2].map(() => createTrailStore(createS3Objects(config)));
    const head = headAfter(chain(3).at(-1)!);
    await Promise.all(stores.map((store, i) => store.seal(`run-${i}`, head, '2026-11-21T20:00:00.000Z')));
    const [stored] = await stores[0]!.read('heads');
    const { entries, damages } = readTrail(stored!.bytes);
    assert.deepEqual([damages, entries.map(({ data }) => data['run']).toSorted()], [[], ['run-0', 'run-1']]);
  });

  test('evidence is kept by its digest, once, and what was changed is not given out', async () => {
    const evidence = createObjectEvidence(createS3Objects(config), 's3://records/');
    await evidence.check();
    const { digest } = await evidence.put({ b: 1, a: [2] });
    assert.equal((await evidence.put({ a: [2], b: 1 })).digest, digest);
    assert.deepEqual(await evidence.get(digest), { a: [2], b: 1 });
    await assert.rejects(evidence.get(`sha256:${'0'.repeat(64)}`), EvidenceMissing);
    await assert.rejects(evidence.get('../x'), EvidenceMissing);
    const key = [...s3.objects.keys()].find((name) => name.includes('/evidence/')) ?? '';
    s3.objects.set(key, Buffer.from('{"a":[2],"b":2}'));
    await assert.rejects(evidence.get(digest), EvidenceDamaged);
  });
});
