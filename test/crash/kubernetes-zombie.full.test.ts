/**
 * A worker is frozen in a write to a real API server, another one rolls back, then the first one goes on. By the audit
 * log its late write is refused (409, then stale), a late canary is collected with the anchor that it belongs to, and no
 * traffic ever goes to a canary again.
 */
import { findKubeApiServer, reasonToSkip } from '../../tools/toolbox.js';
import { startKubeSite } from '../support/kube-crash-site.js';
import { zombieTests } from '../support/zombie-tests.js';

zombieTests(startKubeSite, await reasonToSkip(findKubeApiServer));
