import { useState } from 'preact/hooks';
import { plain } from './words.js';

/** A line for a terminal, and a button that copies it. */
export function Command({ text, label }: { readonly text: string; readonly label: string }) {
  const [copied, setCopied] = useState<'no' | 'yes' | 'failed'>('no');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied('yes');
      setTimeout(() => setCopied('no'), 2000);
    } catch {
      // No permission, or no secure origin: the line can still be selected by hand.
      setCopied('failed');
    }
  };
  return (
    <p class="command">
      <code aria-label={label}>{plain(text)}</code>
      <button type="button" class="quiet" title={`${label}: copy`} onClick={() => void copy()}>
        {copied === 'yes' ? 'Copied' : copied === 'failed' ? 'Select it by hand' : 'Copy'}
      </button>
    </p>
  );
}
