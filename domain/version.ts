/** The version of Slipway: that of `package.json`, which a test compares. */
export const SLIPWAY_VERSION = '0.0.1';
