/**
 * What looks like a secret, by the formats that their issuers publish and by the names people give to them. A short
 * list on purpose: it is a second line. The first is that nothing of the worker's own goes into a prompt.
 * No pattern can take long: repetitions are bounded, or over one class that ends them.
 */
const SECRETS: readonly (readonly [name: string, pattern: RegExp])[] = [
  [
    'private-key',
    /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----([\s\S]{0,8000}?-----END [A-Z ]{0,40}PRIVATE KEY-----|[^-]*)/g,
  ],
  ['api-key', /\bsk[-_][A-Za-z0-9_-]{16,}/g],
  ['aws-key', /\b(AKIA|ASIA)[A-Z0-9]{16}\b/g],
  ['github-token', /\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})/g],
  ['gitlab-token', /\bglpat-[\w-]{16,}/g],
  ['npm-token', /\bnpm_[A-Za-z0-9]{30,}/g],
  ['slack-token', /\bxox[abeoprs]-[\w-]{10,}/g],
  ['google-key', /\bAIza[\w-]{30,}/g],
  ['jwt', /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g],
  ['url-password', /(?<=:\/\/)[^\s:/@]{1,200}:[^\s/@]{1,200}(?=@)/g],
  ['bearer', /(?<=\b(bearer|basic) )[\w.~+/=-]{12,}/gi],
  ['named', /(?<=(password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key)["']?\s{0,3}[:=]\s{0,3})[^\s,;]{6,}/gi],
];

/** The text with what looks like a secret replaced by the name of what it looked like. */
export function redact(text: string): string {
  return SECRETS.reduce((rest, [name, pattern]) => rest.replace(pattern, `[REDACTED:${name}]`), text);
}

/** Without what is not seen but read: control and format characters, lone surrogates, variation selectors. */
export function visible(text: string): string {
  return text.replace(/[^\P{C}\n\t]|[\u{FE00}-\u{FE0F}\u{E0100}-\u{E01EF}]/gu, '');
}
