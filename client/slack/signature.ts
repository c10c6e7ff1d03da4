/** Signatures of Slack's requests, version v0 (docs.slack.dev: "Verifying requests from Slack"), and seals of our own. */
import { createHmac, timingSafeEqual } from 'node:crypto';

/** Seconds that a request's time may be away from ours. */
const WINDOW_SECONDS = 300;

export interface SignedRequest {
  /** `X-Slack-Signature`; two of them come as one text with a comma, which is none. */
  readonly signature: string | undefined;
  /** `X-Slack-Request-Timestamp`. */
  readonly timestamp: string | undefined;
  /** The body as it came: no parser gives these bytes back. */
  readonly body: Uint8Array;
}

/** Why a request is not Slack's, or null. Any of the secrets will do, so that they can be changed while it runs. */
export function signatureProblem(
  { signature, timestamp, body }: SignedRequest,
  secrets: readonly string[],
  nowMs: number,
): string | null {
  // What has another shape can't be compared in constant time, and is no signature.
  if (signature === undefined || !/^v0=[0-9a-f]{64}$/.test(signature)) return 'no signature of version v0';
  if (timestamp === undefined || !/^\d{1,12}$/.test(timestamp)) return 'no time in seconds';
  if (Math.abs(nowMs / 1000 - Number(timestamp)) > WINDOW_SECONDS) return 'a time that is more than 5 min away';
  const given = Buffer.from(signature.slice(3), 'hex');
  const matches = secrets.map((secret) => {
    const wanted = createHmac('sha256', secret).update(`v0:${timestamp}:`).update(body).digest();
    return timingSafeEqual(given, wanted);
  });
  return matches.includes(true) ? null : 'the wrong signature';
}

/** Text that comes back from a client as it was given to it, or not at all. */
export function seal(text: string, secrets: readonly string[]): string {
  return `${text}.${sealOf(text, secrets[0] ?? '').toString('base64url')}`;
}

/** The text under a seal of ours; null where it is not as we gave it. */
export function unsealed(sealed: string, secrets: readonly string[]): string | null {
  const dot = sealed.lastIndexOf('.');
  const text = sealed.slice(0, Math.max(0, dot));
  const given = Buffer.from(sealed.slice(dot + 1), 'base64url');
  const matches = secrets.map((secret) => {
    const wanted = sealOf(text, secret);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  });
  return dot > 0 && matches.includes(true) ? text : null;
}

function sealOf(text: string, secret: string): Buffer {
  return createHmac('sha256', secret).update('slipway-dialog-v1:').update(text).digest();
}
