import { startLocalSite } from '../support/crash-site.js';
import { sampleTest } from '../support/crash-tests.js';

sampleTest({ platform: 'local', start: startLocalSite, skip: false, tracks: 2, count: 6 });
