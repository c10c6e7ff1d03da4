import { LIMITS, mrkdwn, plainText } from './blocks.js';
import type { ModalView } from './blocks.js';
import { clip, clippedLines, escaped, oneLine } from './text.js';

export const DIALOG = { callback: 'slipway-decide', block: 'reason', action: 'reason' } as const;

/** Characters of a reason that are taken. */
export const MAX_REASON = 1000;

export interface DialogOptions {
  readonly verb: 'approve' | 'reject';
  /** As the button carries it. */
  readonly label: string;
  readonly gate: string;
  readonly planDigest: string;
  /** Sealed by the server: comes back from the client with the reason. */
  readonly privateMetadata: string;
  /** More that is shown before the reason. */
  readonly lines?: readonly string[];
}

/** Asks for the reason of a decision, and shows what it binds. */
export function reasonDialog({ verb, label, gate, planDigest, privateMetadata, lines = [] }: DialogOptions): ModalView {
  if (privateMetadata.length > LIMITS.privateMetadata)
    throw new RangeError(
      `private_metadata has ${privateMetadata.length} characters, ${LIMITS.privateMetadata} at most`,
    );
  const title = verb === 'approve' ? 'Approve' : 'Reject';
  const shown = [
    `*${title} ${clip(oneLine(label), 400, escaped)}*`,
    `gate ${clip(oneLine(gate), 200, escaped)}, plan ${clip(oneLine(planDigest), 100, escaped)}`,
    ...lines.map((text) => clip(oneLine(text), 600, escaped)),
  ];
  return {
    type: 'modal',
    callback_id: DIALOG.callback,
    title: plainText(`${title} release`),
    submit: plainText(title),
    close: plainText('Cancel'),
    private_metadata: privateMetadata,
    blocks: [
      { type: 'section', text: mrkdwn(clippedLines(shown, LIMITS.section)) },
      {
        type: 'input',
        block_id: DIALOG.block,
        // A rejection is what the author reads next.
        optional: verb === 'approve',
        label: plainText('Reason'),
        element: { type: 'plain_text_input', action_id: DIALOG.action, multiline: true, max_length: MAX_REASON },
      },
    ],
  };
}
