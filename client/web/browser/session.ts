/** Whose page this is. A browser's tabs may be of several people, one after the other: they must not tell each other anything. */
import type { Me } from '../../server/contract.js';

/** What the tabs of one login have in common, and no others: for names of channels and locks. */
export function sessionName({ identity, csrf }: Me): string {
  // A few characters tell logins apart; names are seen by more than the token itself is for.
  return `${identity.subject} ${csrf?.slice(0, 8) ?? ''}`;
}

/** For requests that may be answered to this login only: the cookie may be another's by now. */
export function csrfHeader(csrf: string | null): Readonly<Record<string, string>> {
  return csrf === null ? {} : { 'x-slipway-csrf': csrf };
}

/** Tells the other tabs of this login that it is over. */
export function tellLoggedOut(me: Me): void {
  const channel = logoutChannel(me);
  // Windows have origins to send to; a channel has none but its own.
  // oxlint-disable-next-line require-post-message-target-origin
  channel?.postMessage('logged out');
  channel?.close();
}

/** Hears it when another tab of this login logs out. */
export function onLoggedOut(me: Me, run: () => void): void {
  logoutChannel(me)?.addEventListener('message', run);
}

function logoutChannel(me: Me): BroadcastChannel | null {
  return 'BroadcastChannel' in globalThis ? new BroadcastChannel(`slipway logout ${sessionName(me)}`) : null;
}
