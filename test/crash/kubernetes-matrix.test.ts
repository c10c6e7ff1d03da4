/**
 * A worker is killed at a write to a real API server (before it arrives, once it is committed, once it is answered), and
 * another one goes on: by the audit log each key was applied exactly once to each object, and by the worker's user; in
 * the end all is new, or all is as it was, and nothing is left over.
 */
import { findKubeApiServer, reasonToSkip } from '../../tools/toolbox.js';
import { sampleTest } from '../support/crash-tests.js';
import { startKubeSite } from '../support/kube-crash-site.js';

const skip = await reasonToSkip(findKubeApiServer);
sampleTest({ platform: 'kubernetes', start: startKubeSite, skip, tracks: 3, count: 3 });
