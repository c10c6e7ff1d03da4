/** The part of Slack's Block Kit that is used here, and its limits (docs.slack.dev/reference/block-kit). */

export interface PlainText {
  readonly type: 'plain_text';
  readonly text: string;
  readonly emoji: false;
}

export interface Mrkdwn {
  readonly type: 'mrkdwn';
  readonly text: string;
  /** Bare addresses, `#names` and `@names` stay text. */
  readonly verbatim: true;
}

export interface Button {
  readonly type: 'button';
  readonly text: PlainText;
  readonly action_id: string;
  readonly value?: string;
  readonly url?: string;
  readonly style?: 'primary' | 'danger';
}

export type Block =
  | { readonly type: 'header'; readonly block_id: string; readonly text: PlainText }
  | { readonly type: 'section'; readonly text: Mrkdwn }
  | { readonly type: 'section'; readonly fields: readonly Mrkdwn[] }
  | { readonly type: 'actions'; readonly block_id: string; readonly elements: readonly Button[] }
  | { readonly type: 'context'; readonly elements: readonly Mrkdwn[] }
  | {
      readonly type: 'input';
      readonly block_id: string;
      readonly optional: boolean;
      readonly label: PlainText;
      readonly element: {
        readonly type: 'plain_text_input';
        readonly action_id: string;
        readonly multiline: true;
        readonly max_length: number;
      };
    };

export interface ModalView {
  readonly type: 'modal';
  readonly callback_id: string;
  readonly title: PlainText;
  readonly submit: PlainText;
  readonly close: PlainText;
  readonly private_metadata: string;
  readonly blocks: readonly Block[];
}

/** Characters, unless said otherwise. */
export const LIMITS = {
  blocks: 50,
  header: 150,
  section: 3000,
  fields: 10,
  field: 2000,
  contextElements: 10,
  actions: 25,
  buttonText: 75,
  value: 2000,
  url: 3000,
  id: 255,
  viewTitle: 24,
  privateMetadata: 3000,
  /** The `text` of a message, which notifications and screen readers use. */
  text: 4000,
  /**
   * All blocks of a message together: not documented, answered with `msg_blocks_too_long` from about 13,200 on
   * (slackapi/bolt-js#2509). Here their JSON is counted, which is more.
   */
  total: 13_200,
} as const;

export function plainText(text: string): PlainText {
  return { type: 'plain_text', text, emoji: false };
}

export function mrkdwn(text: string): Mrkdwn {
  return { type: 'mrkdwn', text, verbatim: true };
}
