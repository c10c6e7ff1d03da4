/** What the worker registers. Names are public API from v0.1. */
export { lane } from './lane.js';
export { reconcile } from './reconcile.js';
export { recover } from './recover.js';
export { rollout } from './rollout.js';
export { slackEnd } from './slack-end.js';
