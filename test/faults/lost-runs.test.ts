import { startLocalSite } from '../support/crash-site.js';
import { lostRunTests } from '../support/lost-run-tests.js';

lostRunTests(startLocalSite, false);
