/** Reset to each fourth checkpoint; reset.full.test.ts takes them all. */
import { resetTests } from '../support/reset-tests.js';

resetTests(4);
