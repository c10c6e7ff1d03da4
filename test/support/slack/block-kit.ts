/** Block Kit's limits as Slack's reference has them, written down a second time: what Slipway sends is held against these. */

interface Text {
  readonly type?: unknown;
  readonly text?: unknown;
}

/** The first thing that Slack would not take, or null. */
export function misuseOf(blocks: unknown, most: number): string | null {
  if (!Array.isArray(blocks)) return 'blocks are no list';
  if (blocks.length === 0 || blocks.length > most) return `${blocks.length} blocks`;
  const ids = new Set<string>();
  for (const block of blocks as Record<string, unknown>[]) {
    const id = block['block_id'];
    if (id !== undefined && (typeof id !== 'string' || id.length > 255 || ids.has(id))) return `block_id ${String(id)}`;
    if (typeof id === 'string') ids.add(id);
    const problem = problemOf(block);
    if (problem !== null) return `${String(block['type'])}: ${problem}`;
  }
  return null;
}

function problemOf(block: Record<string, unknown>): string | null {
  const elements = (block['elements'] ?? []) as Record<string, unknown>[];
  switch (block['type']) {
    case 'header':
      return textProblem(block['text'], 150, ['plain_text']);
    case 'section': {
      const fields = (block['fields'] ?? []) as unknown[];
      if (fields.length > 10) return `${fields.length} fields`;
      if (block['text'] === undefined && fields.length === 0) return 'neither text nor fields';
      return (
        (block['text'] === undefined ? null : textProblem(block['text'], 3000, ['mrkdwn', 'plain_text'])) ??
        first(fields.map((field) => textProblem(field, 2000, ['mrkdwn', 'plain_text'])))
      );
    }
    case 'context':
      if (elements.length === 0 || elements.length > 10) return `${elements.length} elements`;
      return first(elements.map((element) => textProblem(element, 2000, ['mrkdwn', 'plain_text'])));
    case 'actions':
      if (elements.length === 0 || elements.length > 25) return `${elements.length} elements`;
      return first(elements.map(buttonProblem));
    case 'input':
      return textProblem(block['label'], 2000, ['plain_text']);
    default:
      return 'unknown type';
  }
}

function buttonProblem(button: Record<string, unknown>): string | null {
  const length = (name: string): number => String(button[name] ?? '').length;
  if (length('value') > 2000) return 'value too long';
  if (length('url') > 3000) return 'url too long';
  if (length('action_id') === 0 || length('action_id') > 255) return 'action_id';
  return textProblem(button['text'], 75, ['plain_text']);
}

function textProblem(text: unknown, limit: number, types: readonly string[]): string | null {
  const { type, text: content } = (text ?? {}) as Text;
  if (typeof type !== 'string' || !types.includes(type)) return `text of type ${String(type)}`;
  if (typeof content !== 'string' || content.length === 0 || content.length > limit)
    return `text of ${typeof content === 'string' ? content.length : 0} characters, ${limit} at most`;
  return null;
}

function first(problems: readonly (string | null)[]): string | null {
  return problems.find((problem) => problem !== null) ?? null;
}

/** Characters of all blocks, as their JSON: what is not documented is counted strictly. */
export function totalLength(blocks: unknown): number {
  return JSON.stringify(blocks).length;
}
