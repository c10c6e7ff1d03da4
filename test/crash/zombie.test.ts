import { startLocalSite } from '../support/crash-site.js';
import { zombieTests } from '../support/zombie-tests.js';

zombieTests(startLocalSite, false);
