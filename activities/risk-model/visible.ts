/** Without what is not seen but read: control and format characters, lone surrogates, variation selectors. */
export function visible(text: string): string {
  return text.replace(/[^\P{C}\n\t]|[\u{FE00}-\u{FE0F}\u{E0100}-\u{E01EF}]/gu, '');
}
