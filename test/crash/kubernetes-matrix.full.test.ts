/** All points of the crash matrix on Kubernetes: see kubernetes-matrix.test.ts for what each proves. */
import { findKubeApiServer, reasonToSkip } from '../../tools/toolbox.js';
import { fullMatrixTest } from '../support/crash-tests.js';
import { startKubeSite } from '../support/kube-crash-site.js';

const skip = await reasonToSkip(findKubeApiServer);
fullMatrixTest({ platform: 'kubernetes', start: startKubeSite, skip, tracks: 3 });
