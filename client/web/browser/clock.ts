import { signal } from '@preact/signals';

/** How far this machine's clock is behind the server's, ms: times left are counted by the server's. */
let aheadMs = 0;

/** The server's time, ms since the epoch, to the second. Whatever reads it is drawn again each second. */
export const now = signal(Date.now());

/** Tells that the server's clock says this. Delays of the network are left in: a second more or less is nothing here. */
export function serverSays(iso: string): void {
  const atMs = Date.parse(iso);
  if (Number.isNaN(atMs)) return;
  const found = atMs - Date.now();
  // Up to two seconds are the network's, and a state that was made a little before it was sent.
  aheadMs = Math.abs(found) < 2000 ? 0 : found;
  now.value = Date.now() + aheadMs;
}

export function startClock(): void {
  setInterval(() => {
    if (!document.hidden) now.value = Date.now() + aheadMs;
  }, 1000);
}
