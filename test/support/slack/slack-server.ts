/** The server's part for Slack as a process of its own, over Temporal, for tests that end it at any moment. */
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { slackRoutes } from '../../../client/slack/routes.js';
import type { Deciding } from '../../../client/slack/port.js';
import type { RunDocument } from '../../../client/server/contract.js';
import { newDecision, Slipway } from '../../../client/slipway.js';
import type { Identity } from '../../../domain/people.js';
import { createSlackApi } from '../../../formats/slack-api.js';
import { APP, HOME, SIGNING_SECRET, TOKEN } from './standin.js';

const { SLIPWAY_SLACK_API_URL: apiUrl = '', SLACK_SERVER_PORT: port = '0' } = process.env;
const slipway = await Slipway.connect(process.env);

const deciding: Deciding = {
  async decide(identity, rolloutId, { verb, ...said }) {
    const ref = await slipway.resolve(rolloutId);
    const actor = { subject: identity.subject, groups: identity.groups, verified: false };
    const receipt = await slipway.decide(ref, newDecision(verb, actor, said));
    return receipt.kind === 'refused' ? { kind: 'refused', text: receipt.text, next: 'look again' } : receipt;
  },
  async status(_, rolloutId) {
    const found = await slipway.find(await slipway.resolve(rolloutId));
    return found.kind === 'running' ? ({ view: found.view, links: { page: '' } } as unknown as RunDocument) : null;
  },
};

function person(user: string): Identity {
  return {
    subject: `${user.toLowerCase()}@example.com`,
    name: user,
    kind: 'person',
    via: 'slack',
    groups: [],
    aliases: [],
    grants: [],
    authenticatedAtMs: Date.now(),
  };
}

const app = new Hono()
  .get('/healthz', (c) => c.text('ok'))
  .route(
    '/slack',
    slackRoutes({
      signingSecrets: [SIGNING_SECRET],
      appId: APP,
      teamId: HOME,
      enterpriseId: null,
      api: createSlackApi({ apiUrl, token: TOKEN }),
      apiUrl,
      deciding,
      directory: { bySlack: async (team, user) => (team === HOME ? person(user) : null), byEmail: null },
      publicUrl: 'https://slipway.example.com',
      log: { warn: (fields, message) => console.error(message, JSON.stringify(fields)) },
    }),
  );
const server = serve({ fetch: app.fetch, port: Number(port), hostname: '127.0.0.1' });
server.once('listening', () => console.error(`listens on ${(server.address() as AddressInfo).port}`));
