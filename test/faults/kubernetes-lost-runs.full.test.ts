/**
 * A rollback on a real API server needs nothing of what Temporal knew: after a reset, without run and lane, and with the
 * database emptied. By the audit log each key was applied once, by the worker's user.
 */
import { findKubeApiServer, reasonToSkip } from '../../tools/toolbox.js';
import { startKubeSite } from '../support/kube-crash-site.js';
import { lostRunTests } from '../support/lost-run-tests.js';

lostRunTests(startKubeSite, await reasonToSkip(findKubeApiServer));
