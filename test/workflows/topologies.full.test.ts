/** Many random topologies. */
import { topologyTests } from '../support/topologies.js';

topologyTests(150, 5);
