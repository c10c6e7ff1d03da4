/** Who are you: a link to the identity provider, or a token that is shown once for a session. */
import { useState } from 'preact/hooks';
import { backPath, oidcPath } from '../boot.js';
import type { Boot } from '../boot.js';
import { logInByToken } from './api.js';
import { Frame } from './frame.js';
import { plain } from './words.js';

export function LoginPage({ boot }: { readonly boot: Extract<Boot, { readonly page: 'login' }> }) {
  const { login, fresh, notice } = boot;
  const back = backPath(boot.back);
  document.title = 'Log in · Slipway';
  const target = login.oidc === null ? null : oidcPath(login.oidc, back, fresh);
  return (
    <Frame me={null} version={boot.version}>
      <section class="login card">
        <h1>Log in</h1>
        {notice !== null && <p class="notice">{plain(notice)}</p>}
        {/* A link, not a form: the policy of this page lets forms go to this server only. */}
        {target !== null && (
          <p>
            <a class="button primary" href={target}>
              Log in with your organisation
            </a>
          </p>
        )}
        {target !== null && login.tokens && <p class="soft or">or</p>}
        {login.tokens && <TokenForm back={back} />}
        {target === null && !login.tokens && (
          <p>
            No way to log in is set up: whoever runs this server sets <code>oidc</code> or <code>tokens</code> in{' '}
            <code>slipway-server.yaml</code>.
          </p>
        )}
      </section>
    </Frame>
  );
}

function TokenForm({ back }: { readonly back: string }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const logIn = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const token = new FormData(event.currentTarget as HTMLFormElement).get('token');
    setBusy(true);
    setProblem(null);
    const result = await logInByToken(String(token).trim());
    if (result.kind === 'found') return location.assign(back);
    setBusy(false);
    setProblem(
      result.kind === 'problem'
        ? `${result.problem.title}: ${result.problem.detail} ${result.problem.next}`
        : `The server did not answer (${result.text}). Try again.`,
    );
  };
  return (
    <form onSubmit={(event) => void logIn(event)}>
      <label for="token">Token</label>
      <input
        id="token"
        name="token"
        type="password"
        required
        autocomplete="off"
        spellcheck={false}
        placeholder="slp_…"
        aria-describedby={problem === null ? 'token-help' : 'token-help token-problem'}
        aria-invalid={problem !== null}
      />
      <p id="token-help" class="soft">
        It is sent to this server once, for a session; nothing keeps it here.
      </p>
      {problem !== null && (
        <p id="token-problem" class="bad" role="alert">
          {plain(problem)}
        </p>
      )}
      <button type="submit" class="button primary" disabled={busy}>
        {busy ? 'Logging in …' : 'Log in'}
      </button>
    </form>
  );
}
