/** What a server wants to see before it answers: one challenge of a `WWW-Authenticate` header. */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** One step of the header: a scheme, or a parameter of the scheme before it (RFC 9110, section 11.6.1). */
const STEP = /[\s,]*(?:([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))|([\w-]+)(?=\s|,|$))/y;

/** All challenges of a header, in order; what can't be understood ends the list. */
export function parseChallenges(header: string): readonly Challenge[] {
  const found: { scheme: string; parameters: Record<string, string> }[] = [];
  const step = new RegExp(STEP);
  for (;;) {
    const match = step.exec(header);
    if (match === null) return found;
    const [, name, quoted, bare = '', scheme] = match;
    if (scheme !== undefined) found.push({ scheme: scheme.toLowerCase(), parameters: {} });
    else if (name !== undefined && found.length > 0)
      (found.at(-1) as (typeof found)[number]).parameters[name.toLowerCase()] =
        quoted === undefined ? bare : quoted.replace(/\\(.)/g, '$1');
    else return found;
  }
}
