/**
 * Secrets that people and tools leave in commit messages and diffs, by how they look: the formats that their issuers
 * publish, and the names that people give to them. A net with known meshes, not a proof: what looks like nothing known
 * passes. Each pattern takes linear time.
 */
const PATTERNS: readonly (readonly [kind: string, pattern: RegExp])[] = [
  // The end marker may be cut off; then all that follows is taken for the key.
  ['private-key', /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g],
  ['jwt', /\beyJ[\w-]{8,1000}\.[\w-]{8,}\.[\w-]*/g],
  ['aws-key', /\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b/g],
  ['github-token', /\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})/g],
  ['gitlab-token', /\bglpat-[\w-]{16,}/g],
  ['slack-token', /\bxox[a-z]-[\w-]{10,}|\bxapp-[\w-]{10,}/g],
  ['slack-webhook', /https:\/\/hooks\.slack\.com\/(?:services|workflows|triggers)\/[\w/-]+/g],
  ['api-key', /\bsk[-_][A-Za-z0-9_-]{16,}|\brk_(?:live|test)_[A-Za-z0-9]{16,}/g],
  ['google-key', /\bAIza[\w-]{30,}/g],
  ['npm-token', /\bnpm_[A-Za-z0-9]{30,}/g],
];

/** `Authorization: Bearer …`, with the header's name or without. What could be an English word stays. */
const CREDENTIALS = /\b(bearer|basic)(\s{1,4})([A-Za-z0-9+/=._~-]{12,})/gi;
const NO_WORD = /[\d=+/_-]|.[A-Z]/;

/** `https://user:password@host`. */
const URL_PASSWORD = /\b([a-z][a-z0-9+.-]{0,20}:\/\/[^\s:/@]{0,200}):[^\s/@]{1,200}@/gi;

/**
 * `password=…`, `AWS_SECRET_ACCESS_KEY: "…"`. After a colon a bare word counts only behind the names of passwords and
 * secrets, or where it has a digit: "token: fix the parser" is prose.
 */
const NAME = String.raw`[\w.-]{0,40}?(?:passwords?|passwd|passphrase|pwd|secret(?:[_-]?(?:access)?[_-]?key)?|(?:api|access|auth|private|account)[_-]?key|credentials?)`;
const TOKEN_NAME = String.raw`[\w.-]{0,40}?token`;
/** In quotes with all the spaces between them, or one word, the opening quote of which may never be closed. */
const VALUE = (atLeast: number) => String.raw`(?:"[^"\n]{1,500}"|'[^'\n]{1,500}'|["']?[^\s"',;)]{${atLeast},500})`;
const ASSIGNMENTS: readonly RegExp[] = [
  new RegExp(String.raw`\b(${NAME}["']?\s{0,4}[:=]\s{0,4})${VALUE(1)}`, 'gi'),
  new RegExp(
    String.raw`\b(${TOKEN_NAME}["']?(?:\s{0,4}=\s{0,4}|\s{0,4}:\s{0,4}(?=["']|[^\s\d]{0,200}\d)))${VALUE(6)}`,
    'gi',
  ),
];

/** The text with secrets of known looks replaced by `[redacted …]`. Redacting twice changes nothing more. */
export function redactSecrets(text: string): string {
  let redacted = text;
  for (const [kind, pattern] of PATTERNS) redacted = redacted.replace(pattern, `[redacted ${kind}]`);
  redacted = redacted
    .replace(URL_PASSWORD, '$1:[redacted]@')
    .replace(CREDENTIALS, (whole: string, scheme: string, space: string, credential: string) =>
      NO_WORD.test(credential) ? `${scheme}${space}[redacted]` : whole,
    );
  for (const assignment of ASSIGNMENTS) {
    redacted = redacted.replace(assignment, (whole: string, name: string) =>
      whole.startsWith('[redacted', name.length) ? whole : `${name}[redacted]`,
    );
  }
  return redacted;
}
