/** A dozen random topologies; topologies.full.test.ts takes more. */
import { topologyTests } from '../support/topologies.js';

topologyTests(12, 11);
