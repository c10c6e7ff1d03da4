import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { redactSecrets } from '../../domain/redact.js';

// Well-known beginnings stand apart, so that scanners of this repository find no secrets here.
const AWS = 'AKIA';
const SK = 'sk-';
const STRIPE = 'sk_live_';
const SLACK = 'xoxb-';
const GITHUB = `ghp_${'a1B2c3D4e5'.repeat(4)}`;
const SECRETS: readonly (readonly [text: string, secret: string])[] = [
  [`key ${AWS}IOSFODNN7EXAMPLE in CI`, `${AWS}IOSFODNN7EXAMPLE`],
  [`aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY`, 'wJalrXUtnFEMI'],
  [`AWS_SECRET_ACCESS_KEY: "wJalr XUtnFEMI"`, 'wJalr'],
  [`use ${GITHUB}.`, GITHUB],
  [`github_pat_${'11ABCDEFG0'.repeat(5)}`, '11ABCDEFG0'],
  [`glpat-${'abcde12345'.repeat(2)}`, 'abcde12345'],
  [`${SLACK}123456789012-abcdefABCDEF`, '123456789012'],
  [`post to https://hooks.slack.com/services/T000/B000/XXXXsecretXXXX`, 'XXXXsecretXXXX'],
  [`OPENAI_API_KEY=${SK}proj-abcdefghij0123456789`, 'abcdefghij0123456789'],
  [`${SK}abcdefghij0123456789ABCDEFGHIJ`, 'abcdefghij0123456789'],
  [`stripe ${STRIPE}abcdefghij0123456789`, 'abcdefghij0123456789'],
  [`npm_${'abcdef'.repeat(6)}`, 'abcdefabcdef'],
  [`AIza${'SyA-12345'.repeat(4)}`.slice(0, 39), 'SyA-12345'],
  ['eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U', 'dozjgNry'],
  ['eyJhbGciOiJIUzI1NiJ9.MTIzNDU2Nzg5MA.dozjgNryP4J3jVmNHl0w5N', 'MTIzNDU2'],
  ['sk_abcdefghij0123456789', 'abcdefghij0123456789'],
  ['Authorization: Bearer abc123def456ghi789', 'abc123def456'],
  ['authorization: bearer abcdefgHijklmnop', 'abcdefgHijklmnop'],
  ['Authorization: Basic dXNlcjpwYXNzd29yZDEyMw==', 'dXNlcjpwYXNz'],
  ['password=hunter2', 'hunter2'],
  ['the password: hunter2, and more', 'hunter2'],
  [`{"db_password": "correct horse"}`, 'correct'],
  ['DB_PASSWD=x', '=x'],
  [`password="hunter2`, 'hunter2'],
  [`secret: 'cut-off-he`, 'cut-off-he'],
  ['client_secret: abcdef', 'abcdef'],
  ['auth_token=abcdefgh', 'abcdefgh'],
  ['token: abc123def', 'abc123def'],
  ['postgres://shop:s3cr3t@db.example.com/shop', 's3cr3t'],
  ['https://user:tok-en@github.com/a/b.git', 'tok-en'],
  [`amqp://${'u'.repeat(150)}:s3cr3t@mq/`, 's3cr3t'],
  [`-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA\n-----END RSA PRIVATE KEY-----\nbye`, 'MIIEow'],
  [`-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz (cut off`, 'b3BlbnNz'],
];

test('secrets of known looks are redacted, and the words around them stay', () => {
  for (const [text, secret] of SECRETS) {
    const redacted = redactSecrets(`before ${text}\nafter`);
    assert.ok(!redacted.includes(secret), `${text} → ${redacted}`);
    assert.match(redacted, /^before [\s\S]*\[redacted/);
    assert.equal(redactSecrets(redacted), redacted, `redacting twice: ${text}`);
  }
  assert.equal(redactSecrets('a password=hunter2 b'), 'a password=[redacted] b');
  assert.match(redactSecrets(SECRETS.at(-2)?.[0] ?? ''), /\nbye$/);
});

test('ordinary messages stay as they are', () => {
  const texts = [
    'fix(token): refresh before it expires',
    'token: fix the parser of expiry dates',
    'Reset password flow: send the mail once (#1234)',
    'Revert "x"\n\nThis reverts commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad.',
    'bump image to sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    'task-12: see https://example.com/a:b/c@d and a@b.example',
    'keyboard=on tokens are counted',
    'basic support for the new API; bearer of good news',
    'Basic Authentication is documented; bearer authorisation too',
    'Signed-off-by: A B <a@b.example>',
  ];
  for (const text of texts) assert.equal(redactSecrets(text), text);
});

test('any text is redacted in time and to a fixed point', () => {
  const started = performance.now();
  for (const part of [
    'password',
    'eyJaaaaaaaaa-',
    'a.',
    'token ',
    'bearer ',
    'x://',
    '-----BEGIN PRIVATE KEY-----',
    'secret_',
  ]) {
    redactSecrets(part.repeat(64_000 / part.length));
  }
  assert.ok(performance.now() - started < 3000, `${performance.now() - started} ms`);
  const words = fc.constantFrom(
    'password',
    '=',
    ':',
    ' ',
    'token',
    '"',
    'bearer ',
    'abc123def456ghi',
    '[redacted]',
    '\n',
    GITHUB,
    'x://u:p@h',
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 12 }), (list) => {
      const once = redactSecrets(list.join(''));
      assert.equal(redactSecrets(once), once);
    }),
  );
});
