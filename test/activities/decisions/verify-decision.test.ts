/** What a worker makes of a decision's signature, and of its file of trusted keys. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createDecisionActivities, readTrustedKeys } from '../../../activities/decisions/verify-decision.js';
import type { Decision } from '../../../domain/approval/decision.js';
import { newSigner, person } from '../../support/signing.js';

const DECISION: Decision = {
  id: 'click-1',
  verb: 'approve',
  gate: 'release',
  planDigest: `sha256:${'1'.repeat(64)}`,
  actor: person('anna', { groups: ['ops'] }),
  reason: null,
  full: false,
  at: '2026-07-01T12:00:00.000Z',
};

let folder: string;
let file: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-keys-'));
  file = path.join(folder, 'trusted.json');
});
after(() => rm(folder, { recursive: true, force: true }));

describe('a signed decision', () => {
  const { verifyDecision } = createDecisionActivities({ trustedKeys: () => readTrustedKeys(file) });
  const why = async (decision: Decision, rolloutId = 'r1'): Promise<string> => {
    const answer = await verifyDecision({ rolloutId, decision });
    return answer.kind === 'valid' ? 'valid' : answer.why;
  };

  test('holds where a trusted server has signed this very decision, and nowhere else', async () => {
    const [server, stranger] = [await newSigner(), await newSigner()];
    await writeFile(file, JSON.stringify(server.trusted));
    const signed = { ...DECISION, signature: await server.sign('r1', DECISION) };
    assert.equal(await why(signed), 'valid');
    // What a verification says is no part of what was signed.
    assert.equal(await why({ ...signed, actor: { ...signed.actor, verified: true } }), 'valid');
    assert.equal(await why(signed, 'r2'), 'it was signed for rollout r1');
    for (const change of [
      { id: 'click-2' },
      { verb: 'break-glass' },
      { gate: 'stage-2' },
      { planDigest: 'sha256:other' },
      { reason: 'another' },
      { actor: person('bert', { groups: ['ops'] }) },
      { actor: person('anna', { groups: ['ops', 'security'] }) },
      { actor: person('anna', { groups: ['ops'], roles: ['breakglass'] }) },
    ] as const)
      assert.equal(await why({ ...signed, ...change }), 'it was changed after it was signed', JSON.stringify(change));
    assert.equal(
      await why({ ...DECISION, signature: await stranger.sign('r1', DECISION) }),
      'no trusted key signed it',
    );
    assert.equal(await why(DECISION), 'it carries no signature');
    const [header, payload, signature] = signed.signature.split('.');
    const unsigned = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
    for (const forged of ['x', '..', `${unsigned}.${payload}.`, `${header}.${payload}.${signature?.slice(2)}AA`])
      assert.match(
        await why({ ...DECISION, signature: forged }),
        /^(its signature is not valid|no trusted key signed it)$/,
        forged,
      );
  });

  test('of a new key counts as soon as the key is in the file, and of a removed one no more', async () => {
    const [old, next] = [await newSigner(), await newSigner()];
    const byOld = { ...DECISION, signature: await old.sign('r1', DECISION) };
    const byNext = { ...DECISION, signature: await next.sign('r1', DECISION) };
    await writeFile(file, JSON.stringify(old.trusted));
    assert.deepEqual([await why(byOld), await why(byNext)], ['valid', 'no trusted key signed it']);
    await writeFile(file, JSON.stringify({ keys: [...old.trusted.keys, ...next.trusted.keys] }));
    assert.deepEqual([await why(byOld), await why(byNext)], ['valid', 'valid']);
    await writeFile(file, JSON.stringify(next.trusted));
    assert.deepEqual([await why(byOld), await why(byNext)], ['no trusted key signed it', 'valid']);
  });

  test('counts nowhere while there is no file; a file that is none is an error that does not quote it', async () => {
    await rm(file);
    assert.deepEqual(await readTrustedKeys(file), { keys: [] });
    for (const text of ['', '{"keys":[{"kty":"RSA","d":"secret"}]}', 'secret', '{"keys":"secret"}']) {
      await writeFile(file, text);
      await assert.rejects(readTrustedKeys(file), (error: Error) => {
        assert.match(error.message, /trusted\.json is no JWK Set of Ed25519 keys/);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      });
    }
    await assert.rejects(readTrustedKeys(folder), /the trusted keys can't be read: EISDIR/);
  });
});
