/** How long a server asks to wait, ms: its `Retry-After` in seconds or as a date; 0 where it says nothing that can be read. */
export function retryAfterMs(headers: Headers | undefined): number {
  const text = headers?.get('retry-after') ?? '';
  const waitMs = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(waitMs) ? Math.max(0, waitMs) : 0;
}
