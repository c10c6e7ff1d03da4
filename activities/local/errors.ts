import { Refused, Unavailable } from '../failures.js';

/** The gateway can't be reached or is busy, or other writers won a write too often: a retry may cure it. */
export class PlatformUnavailable extends Unavailable {
  constructor(
    readonly url: string,
    why: string,
    options?: ErrorOptions,
  ) {
    super(`local gateway at ${url}: ${why}`, null, options);
  }
}

/** The gateway says no to a read for good, e.g. for a name that it can't have. A refused write is an `EffectResult` instead. */
export class PlatformRefused extends Refused {
  constructor(
    readonly url: string,
    readonly reason: string,
  ) {
    super(`local gateway at ${url}: ${reason}`);
  }
}
