/** How foreign text is made safe and short enough for Slack (docs.slack.dev: "Formatting message text"). */

/** Slack asks for exactly these three: without them neither `<!channel>` nor `<https://evil|Approve>` can be written. */
const MARKUP: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

/** Direction marks and overrides turn around what stands beside them; control characters have no place in a line. */
// oxlint-disable-next-line no-control-regex
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]+/g;

/** Text that another person or program wrote, as one line that reads as it is shown. */
export function oneLine(text: string): string {
  return text.replace(INVISIBLE, ' ').replace(/ {2,}/g, ' ').trim();
}

/** Text for a field that knows markup (`mrkdwn`, and the `text` of a message). */
export function escaped(text: string): string {
  return text.replace(/[&<>]/g, (character) => MARKUP[character] ?? character);
}

/**
 * The text if it has at most `limit` characters (UTF-16 units, the stricter count), else its beginning and `… n more`.
 * Never splits a code point, nor what `encode` makes of one.
 */
export function clip(text: string, limit: number, encode: (part: string) => string = (part) => part): string {
  const whole = encode(text);
  if (whole.length <= limit) return whole;
  const points = Array.from(text);
  const suffix = limit < 40 ? '…' : `… ${points.length} more, see page`;
  let kept = '';
  let n = 0;
  for (const point of points) {
    const next = encode(point);
    if (kept.length + next.length > limit - suffix.length) break;
    kept += next;
    n += 1;
  }
  return `${kept}${limit < 40 ? '…' : `… ${points.length - n} more, see page`}`;
}

/** As many lines as fit into `limit` characters, the last of them `… n more, see page` where some did not. */
export function clippedLines(lines: readonly string[], limit: number): string {
  const all = lines.join('\n');
  if (all.length <= limit) return all;
  const room = limit - `\n… ${lines.length} more, see page`.length;
  const kept: string[] = [];
  let length = 0;
  for (const line of lines) {
    if (length + line.length + 1 > room) break;
    kept.push(line);
    length += line.length + 1;
  }
  return [...kept, `… ${lines.length - kept.length} more, see page`].join('\n');
}
