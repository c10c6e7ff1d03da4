/** Reset to each checkpoint of a rollout. */
import { resetTests } from '../support/reset-tests.js';

resetTests(1);
