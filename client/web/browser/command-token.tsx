/** A token for the command line, taken from a login in the browser. */
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { CommandToken, Me } from '../../server/contract.js';
import { commandToken } from './api.js';
import type { Result } from './api.js';
import { Command } from './command.js';
import { clockText, plain } from './words.js';

/** A button, and the dialog that shows the token: nothing is made before somebody asks for it. */
export function CommandTokenButton({ me }: { readonly me: Me }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="quiet" onClick={() => setOpen(true)}>
        Command line
      </button>
      {open && <TokenDialog me={me} onClose={() => setOpen(false)} />}
    </>
  );
}

function TokenDialog({ me, onClose }: { readonly me: Me; readonly onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  const [result, setResult] = useState<Result<CommandToken> | null>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const ask = async (): Promise<void> => setResult(await commandToken(me.csrf));
  return (
    <dialog ref={dialog} aria-labelledby={title} onClose={onClose}>
      <h2 id={title}>Use the command line as {plain(me.identity.name)}</h2>
      <p>
        Whoever has this token may do what you may do here, until your login ends. It is shown once; paste it where{' '}
        <code>slipway login</code> asks for it.
      </p>
      <Command text={`slipway login --server ${location.origin}`} label="The command that asks for the token" />
      <div role="alert">
        {result?.kind === 'found' && (
          <>
            <Command text={result.value.token} label="The token" />
            <p class="soft">Good until {clockText(Date.parse(result.value.until))}.</p>
          </>
        )}
        {result?.kind === 'problem' && (
          <p class="notice refused">
            <b>{plain(result.problem.title)}.</b> {plain(result.problem.detail)} {plain(result.problem.next)}
          </p>
        )}
        {result?.kind === 'no-answer' && <p class="notice lost">The server did not answer. Try again.</p>}
      </div>
      <p class="buttons">
        {result?.kind !== 'found' && (
          <button type="button" class="primary" onClick={() => void ask()}>
            Make a token
          </button>
        )}
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </p>
    </dialog>
  );
}
