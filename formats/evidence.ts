/** How an evidence folder is laid out: whoever writes and whoever reads it must agree. */

/**
 * Where the evidence of a digest lies in the folder, with `/`; `null` where the text is no digest. Two levels of folders:
 * a folder with a million files is slow to list everywhere.
 */
export function evidencePath(digest: string): string | null {
  const match = /^sha256:([0-9a-f]{2})([0-9a-f]{62})$/.exec(digest);
  return match === null ? null : `sha256/${match[1]}/${match[1]}${match[2]}.json`;
}

/** The digest that a path inside an evidence folder stands for; `null` for any other path. */
export function digestOfPath(path: string): string | null {
  const match = /(?:^|[/\\])sha256[/\\][0-9a-f]{2}[/\\]([0-9a-f]{64})\.json$/.exec(path);
  return match === null ? null : `sha256:${match[1]}`;
}
