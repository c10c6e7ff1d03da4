/**
 * The users of the demo's service: asks for TRAFFIC_URL, TRAFFIC_PER_SECOND times a second, open loop: a slow answer
 * delays no other request. What comes back is the gateway's to count.
 */
import { Agent, get } from 'node:http';

const url = process.env.TRAFFIC_URL;
const perSecond = Number(process.env.TRAFFIC_PER_SECOND);
const agent = new Agent({ keepAlive: true, maxSockets: 200 });

function ask() {
  const request = get(url, { agent, timeout: 5000 }, (response) => response.resume());
  request.once('timeout', () => request.destroy());
  // The service may not be there yet, or be gone for a moment: its users come back.
  request.once('error', () => undefined);
}

setInterval(ask, 1000 / perSecond);
process.once('SIGTERM', () => process.exit(0));
