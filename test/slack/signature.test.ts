/** Only what Slack has signed, a moment ago, with a secret that we know. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seal, signatureProblem, unsealed } from '../../client/slack/signature.js';
import { signed } from '../support/slack/standin.js';

const SECRET = '8f742231b10e8888abcd99yyyzzz85a5';
const AT = 1_531_420_618_000;
const BODY =
  'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test('the example of Slack’s documentation verifies', () => {
  const signature = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503';
  const request = { signature, timestamp: '1531420618', body: bytes(BODY) };
  assert.equal(signatureProblem(request, [SECRET], AT), null);
  assert.equal(signatureProblem({ ...request, body: bytes(`${BODY} `) }, [SECRET], AT), 'the wrong signature');
});

test('old and new secrets verify while they are changed, others do not', () => {
  const headers = signed('x', { secret: 'old', atMs: AT });
  const request = {
    signature: headers['x-slack-signature'],
    timestamp: headers['x-slack-request-timestamp'],
    body: bytes('x'),
  };
  assert.equal(signatureProblem(request, ['new', 'old'], AT), null);
  assert.notEqual(signatureProblem(request, ['new'], AT), null);
  assert.notEqual(signatureProblem(request, [], AT), null);
});

test('five minutes, in both directions', () => {
  for (const [awaySeconds, wanted] of [
    [299, true],
    [300, true],
    [301, false],
    [-299, true],
    [-301, false],
  ] as const) {
    const headers = signed('x', { secret: SECRET, atMs: AT - awaySeconds * 1000 });
    const request = {
      signature: headers['x-slack-signature'],
      timestamp: headers['x-slack-request-timestamp'],
      body: bytes('x'),
    };
    assert.equal(signatureProblem(request, [SECRET], AT) === null, wanted, `${awaySeconds} s`);
  }
});

test('headers of another shape are refused, never an exception', () => {
  const good = signed('x', { secret: SECRET, atMs: AT });
  const signature = good['x-slack-signature'] ?? '';
  const timestamp = good['x-slack-request-timestamp'] ?? '';
  const wrong: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, timestamp],
    [signature, undefined],
    ['', timestamp],
    ['v0=abc', timestamp],
    [signature.toUpperCase(), timestamp],
    [signature.replace('v0', 'v1'), timestamp],
    [`${signature}, ${signature}`, timestamp],
    [signature, `${timestamp}, ${timestamp}`],
    [signature, `${timestamp}.5`],
    [signature, '-1'],
    [signature, '1e9'],
    [`v0=${'ä'.repeat(64)}`, timestamp],
  ];
  for (const [one, other] of wrong)
    assert.notEqual(signatureProblem({ signature: one, timestamp: other, body: bytes('x') }, [SECRET], AT), null, one);
});

test('a sealed text comes back as it was, or not at all', () => {
  const sealed = seal('{"a":"b.c"}', ['new']);
  assert.equal(unsealed(sealed, ['new']), '{"a":"b.c"}');
  assert.equal(unsealed(sealed, ['newest', 'new']), '{"a":"b.c"}');
  assert.equal(unsealed(sealed, ['other']), null);
  assert.equal(unsealed(sealed.replace('b.c', 'b.d'), ['new']), null);
  for (const text of ['', '.', 'x', 'x.', '{"a":1}', `.${sealed}`]) assert.equal(unsealed(text, ['new']), null, text);
});
