/** Clicks, dialogs and commands, as Slack sends them and as others forge them: one effect per click, or none and a reason. */
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from '@hono/node-server';
import type { Decided, Deciding } from '../../client/slack/port.js';
import { slackRoutes } from '../../client/slack/routes.js';
import type { SlackOptions } from '../../client/slack/routes.js';
import type { DecisionBody, RunDocument } from '../../client/server/contract.js';
import type { Identity } from '../../domain/people.js';
import { slackCard } from '../../domain/slack/card.js';
import { ACTIONS, slackMessage } from '../../domain/slack/message.js';
import { createSlackApi, MESSAGE_EVENT, Posted } from '../../formats/slack-api.js';
import { APP, HOME, signed, SIGNING_SECRET, SlackStandin, TOKEN } from '../support/slack/standin.js';
import { openRelease, testView } from '../support/view.js';

const CHANNEL = 'C0DEPLOYS1';
const VIEW = testView({
  phase: 'awaiting-approval',
  status: 'awaiting-approval',
  approvals: openRelease(),
  wait: {
    kind: 'approval',
    since: '2026-07-01T12:00:00.000Z',
    deadline: null,
    atDeadline: 'rejected',
    reason: '2 approvals needed',
    who: 'anyone',
    commands: [],
    gate: 'release',
  },
});

interface Said {
  readonly subject: string;
  readonly rolloutId: string;
  readonly decision: DecisionBody;
}

/** The server's core, as far as Slack knows it: counts each id once. */
class Core implements Deciding {
  readonly said: Said[] = [];
  readonly effects = new Set<string>();
  answer: (said: Said) => Decided | Promise<Decided> = ({ decision }) => ({
    kind: 'accepted',
    text: `${decision.verb} counted`,
  });

  async decide(identity: Identity, rolloutId: string, decision: DecisionBody): Promise<Decided> {
    const said = { subject: identity.subject, rolloutId, decision };
    this.said.push(said);
    const answer = await this.answer(said);
    if (answer.kind !== 'refused') this.effects.add(decision.id);
    return answer;
  }

  async status(_identity: Identity, rolloutId: string): Promise<RunDocument | null> {
    if (rolloutId !== VIEW.rolloutId) return null;
    return {
      summary: { release: 'hello:v2', service: 'hello', environment: 'test' },
      view: VIEW,
      links: { page: `https://slipway.example.com/rollouts/${rolloutId}` },
    } as RunDocument;
  }
}

function identity(subject: string, roles: readonly Identity['grants'][number]['role'][] = ['approver']): Identity {
  return {
    subject,
    name: subject,
    kind: 'person',
    via: 'slack',
    groups: ['release'],
    aliases: [],
    grants: roles.map((role) => ({ role, services: ['*'], environments: ['*'] })),
    authenticatedAtMs: 0,
  };
}

let slack: SlackStandin;
let core: Core;
let logged: string[];
let stop: () => Promise<void>;
let at: { interactions: string; commands: string; events: string };
let ts: string;
let byMail: ((email: string) => Promise<Identity | null>) | null;
let now: () => number;

async function start(change: Partial<SlackOptions> = {}): Promise<void> {
  const app = slackRoutes({
    signingSecrets: ['next-secret', SIGNING_SECRET],
    appId: APP,
    teamId: HOME,
    enterpriseId: null,
    api: createSlackApi({ apiUrl: slack.apiUrl, token: TOKEN }),
    apiUrl: slack.apiUrl,
    deciding: core,
    directory: {
      bySlack: async (team, user) =>
        team === HOME && ['U0ANN', 'U0BERT'].includes(user)
          ? identity(`${user.slice(2).toLowerCase()}@example.com`)
          : null,
      byEmail: byMail === null ? null : (email) => byMail?.(email) ?? Promise.resolve(null),
    },
    publicUrl: 'https://slipway.example.com',
    log: { warn: (fields, message) => void logged.push(`${message} ${JSON.stringify(fields)}`) },
    nowMs: () => now(),
    ...change,
  });
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' });
  await new Promise<void>((resolve) => server.once('listening', () => resolve()));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/slack`;
  at = { interactions: `${base}/interactions`, commands: `${base}/commands`, events: `${base}/events` };
  stop = () => new Promise((resolve) => server.close(() => resolve()));
}

beforeEach(async () => {
  slack = await SlackStandin.start();
  slack.addChannel(CHANNEL);
  for (const user of ['U0ANN', 'U0BERT', 'U0NOBODY']) slack.addUser(user);
  core = new Core();
  logged = [];
  byMail = null;
  now = Date.now;
  const { text, blocks } = slackMessage(slackCard(VIEW), 'https://slipway.example.com/rollouts/x');
  const metadata = { event_type: MESSAGE_EVENT, event_payload: { rollout_id: VIEW.rolloutId, key: VIEW.rolloutId } };
  const posted = await createSlackApi({ apiUrl: slack.apiUrl, token: TOKEN })(
    'chat.postMessage',
    { channel: CHANNEL, text, blocks, metadata },
    Posted,
  );
  assert.ok(posted.kind === 'ok');
  ts = posted.value.ts;
  await start();
});

afterEach(async () => {
  await stop();
  await slack.stop();
  assert.deepEqual(slack.misuse, []);
  assert.deepEqual(slack.lost, []);
  const secrets = new RegExp(`${TOKEN}|${SIGNING_SECRET}|trigger\\.|/respond/|old-shared-token`);
  assert.doesNotMatch(logged.join('\n'), secrets);
});

async function click(user: string, action: string = ACTIONS.approve, change = {}) {
  return slack.send(at.interactions, slack.clickBody(CHANNEL, ts, user, action, change));
}

function errorsOf(body: string): string {
  const { response_action, errors } = JSON.parse(body) as { response_action: string; errors: Record<string, string> };
  assert.equal(response_action, 'errors');
  return errors['reason'] ?? '';
}

test('a click asks for the reason, the dialog decides on the plan of the message, once', async () => {
  const clicked = await click('U0ANN');
  assert.deepEqual([clicked.status, clicked.body], [200, '']);
  assert.ok(clicked.ms < 1000);
  const view = await slack.dialogOf('U0ANN');
  assert.match(JSON.stringify(view.blocks), /hello:v2/);
  assert.equal(core.said.length, 0);
  assert.deepEqual(slack.countOf('users.info'), 0, 'nothing is looked up before the dialog opens');
  const submitted = await slack.send(at.interactions, slack.submitBody(view, ' looks good '));
  assert.deepEqual([submitted.status, submitted.body], [200, '']);
  const [said] = core.said;
  assert.equal(said?.subject, 'ann@example.com');
  assert.equal(said.rolloutId, VIEW.rolloutId);
  const { id, ...decision } = said.decision;
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.deepEqual(decision, {
    verb: 'approve',
    gate: 'release',
    planDigest: VIEW.plan?.digest,
    reason: 'looks good',
  });
  // The dialog comes again, newly signed: the same decision.
  await slack.send(at.interactions, slack.submitBody(view, 'looks good'));
  assert.equal(core.said.length, 2);
  assert.equal(core.effects.size, 1);
});

test('the same request again, also in parallel and until its signature is old, gets the first answer and does nothing', async () => {
  const body = slack.clickBody(CHANNEL, ts, 'U0ANN', ACTIONS.approve);
  const clickedMs = Date.now();
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => slack.send(at.interactions, body, { atMs: clickedMs })),
  );
  assert.deepEqual(
    answers.map(({ status }) => status),
    Array.from({ length: 8 }, () => 200),
  );
  await slack.dialogOf('U0ANN');
  const view = slack.views[0];
  assert.ok(view !== undefined && slack.views.length === 1);
  const submission = slack.submitBody(view, 'ok');
  // All at one time, or they would be signed anew.
  const sentMs = Date.now();
  await Promise.all(Array.from({ length: 8 }, () => slack.send(at.interactions, submission, { atMs: sentMs })));
  assert.equal(core.said.length, 1);
  now = () => sentMs + 299_000;
  assert.equal((await slack.send(at.interactions, submission, { atMs: sentMs })).status, 200);
  assert.equal(core.said.length, 1);
  now = () => sentMs + 301_000;
  assert.equal((await slack.send(at.interactions, submission, { atMs: sentMs })).status, 401);
  assert.equal(core.said.length, 1);
});

test('a server that was started again gives a repeated dialog the same decision', async () => {
  await click('U0ANN');
  const view = await slack.dialogOf('U0ANN');
  const submission = slack.submitBody(view, 'ok');
  await slack.send(at.interactions, submission);
  await stop();
  await start();
  await slack.send(at.interactions, submission);
  assert.equal(core.said.length, 2);
  assert.equal(core.effects.size, 1);
});

test('a double click opens two dialogs at most, and each click is one decision', async () => {
  await Promise.all([click('U0ANN'), click('U0ANN')]);
  await slack.dialogOf('U0ANN', 1);
  await Promise.all(slack.views.map((view) => slack.send(at.interactions, slack.submitBody(view, 'ok'))));
  assert.equal(core.effects.size, 2, 'two clicks: the workflow counts one person once');
  assert.ok(core.said.every(({ subject }) => subject === 'ann@example.com'));
});

test('a rejection needs a reason; the dialog stays open until there is one', async () => {
  await click('U0ANN', ACTIONS.reject);
  const view = await slack.dialogOf('U0ANN');
  assert.match(errorsOf((await slack.send(at.interactions, slack.submitBody(view, '  '))).body), /say why/);
  assert.equal(core.said.length, 0);
  await slack.send(at.interactions, slack.submitBody(view, 'it breaks checkout'));
  assert.deepEqual(core.said[0]?.decision.verb, 'reject');
});

test('a refusal stands in the dialog, with what to do', async () => {
  core.answer = () => ({ kind: 'refused', text: 'the plan changed', next: 'look again' });
  await click('U0ANN');
  const answer = await slack.send(at.interactions, slack.submitBody(await slack.dialogOf('U0ANN'), ''));
  assert.equal(errorsOf(answer.body), 'the plan changed. look again');
});

test('where no answer comes in time, or an error, the dialog stays and a second try counts once', async () => {
  core.answer = async () => {
    await sleep(1500);
    return { kind: 'accepted', text: 'approved <!channel> (1 of 2)' };
  };
  await click('U0ANN');
  const view = await slack.dialogOf('U0ANN');
  const slow = await slack.send(at.interactions, slack.submitBody(view, 'ok'));
  assert.ok(slow.ms < 1400, `${slow.ms} ms`);
  assert.match(errorsOf(slow.body), /no answer yet.*counts once/);
  assert.equal(await slack.toldTo('U0ANN', /1 of 2/), 'approved &lt;!channel&gt; (1 of 2)');
  core.answer = () => Promise.reject(new Error(`down, with ${TOKEN}`));
  assert.match(
    errorsOf((await slack.send(at.interactions, slack.submitBody(view, 'ok'))).body),
    /can’t be told.*counts once/,
  );
  core.answer = () => ({ kind: 'recorded', text: 'recorded: no worker is up' });
  assert.equal((await slack.send(at.interactions, slack.submitBody(view, 'ok'))).body, '');
  await slack.toldTo('U0ANN', /no worker is up/);
  assert.equal(core.effects.size, 1);
});

test('a click is acknowledged at once whatever Slack’s API does, and the person is told', async () => {
  slack.trouble('views.open', 'slow', 'error before', 'limited');
  for (let n = 0; n < 3; n += 1) {
    const { status, ms } = await click('U0ANN');
    assert.equal(status, 200);
    assert.ok(ms < 1000);
  }
  await slack.toldTo('U0ANN', /could not be opened.*press again/);
});

test('what is not signed by Slack gets 401 and has no effect', async () => {
  const body = slack.clickBody(CHANNEL, ts, 'U0ANN', ACTIONS.approve);
  assert.equal((await slack.send(at.interactions, body, { secret: 'wrong' })).status, 401);
  assert.equal((await slack.send(at.interactions, body, { atMs: Date.now() - 301_000 })).status, 401);
  assert.equal((await slack.send(at.interactions, body, { atMs: Date.now() + 302_000 })).status, 401);
  const headers = signed(body);
  for (const change of [{}, { 'x-slack-signature': 'v0=1' }, { 'x-slack-request-timestamp': 'x' }]) {
    const given = Object.keys(change).length === 0 ? {} : { ...headers, ...change };
    assert.equal((await fetch(at.interactions, { method: 'POST', headers: given, body })).status, 401);
  }
  // Signed, but the bytes are others.
  assert.equal((await fetch(at.interactions, { method: 'POST', headers, body: `${body}&x=1` })).status, 401);
  assert.equal(slack.views.length, 0);
});

test('what makes no sense is refused without a failure', async () => {
  for (const body of [
    '',
    'payload=',
    'payload=%7B',
    'payload=null',
    'payload=[]',
    `payload=${'['.repeat(20_000)}`,
    'x',
  ])
    assert.equal((await slack.send(at.interactions, body)).status, 400, body.slice(0, 20));
  assert.equal((await slack.send(at.interactions, 'payload={"type":"block_actions"}')).status, 400);
  assert.equal((await slack.send(at.interactions, 'payload={"type":"view_closed"}')).status, 200);
  assert.equal((await slack.send(at.commands, 'command=%2Fslipway')).status, 400);
  assert.equal((await slack.send(at.commands, 'ssl_check=1')).status, 200);
  assert.equal((await slack.send(at.interactions, 'x'.repeat(1_100_000))).status, 413);
});

test('events: the address is proved, all else is taken and left', async () => {
  const challenge = await slack.send(at.events, '{"type":"url_verification","challenge":"abc"}');
  assert.equal(challenge.body, '{"challenge":"abc"}');
  const event = await slack.send(at.events, '{"type":"event_callback","event":{"type":"app_mention"}}');
  assert.deepEqual([event.status, event.body], [200, '']);
});

test('another app, another workspace and people of other workspaces see the buttons, and can do nothing', async () => {
  slack.addUser('U0STRANGE', { team: 'T0OTHER' });
  await click('U0STRANGE');
  await slack.toldTo('U0STRANGE', /Refused: you belong to another workspace/);
  await click('U0ANN', ACTIONS.approve, { team: { id: 'T0OTHER' } });
  await slack.toldTo('U0ANN', /Refused: this workspace/);
  await click('U0ANN', ACTIONS.approve, { api_app_id: 'A0OTHER' });
  await slack.toldTo('U0ANN', /Refused: this button belongs to another app/);
  assert.equal(slack.views.length, 0);
  const status = await slack.send(
    at.commands,
    slack.commandBody(CHANNEL, 'U0ANN', `abort ${VIEW.rolloutId}`, { team_id: 'T0OTHER' }),
  );
  assert.match(status.body, /this workspace does not belong/);
  assert.equal(core.said.length, 0);
});

test('with an organisation configured, no other one may speak', async () => {
  await stop();
  await start({ enterpriseId: 'E0HOME' });
  await click('U0ANN', ACTIONS.approve, { enterprise: { id: 'E0OTHER' } });
  await slack.toldTo('U0ANN', /organisation/);
  await click('U0ANN', ACTIONS.approve, { enterprise: { id: 'E0HOME' } });
  await slack.dialogOf('U0ANN');
});

test('an account that is nobody’s is told where to go', async () => {
  await click('U0NOBODY');
  const answer = await slack.send(at.interactions, slack.submitBody(await slack.dialogOf('U0NOBODY'), 'ok'));
  assert.match(errorsOf(answer.body), /U0NOBODY is nobody’s.*https:\/\/slipway\.example\.com/);
  assert.equal(core.said.length, 0);
});

test('by mail address, where that is switched on: no guests, bots, strangers or deactivated people; never break-glass', async () => {
  const asked: string[] = [];
  byMail = async (email) => {
    asked.push(email);
    return email.startsWith('u0') ? identity(email, ['approver', 'breakglass']) : null;
  };
  const rolesSeen: string[] = [];
  await stop();
  await start({
    deciding: {
      status: () => Promise.resolve(null),
      decide: async ({ grants }) => {
        rolesSeen.push(...grants.map(({ role }) => role));
        return { kind: 'accepted', text: 'ok' };
      },
    },
  });
  const says = async (user: string): Promise<string> =>
    (await slack.send(at.commands, slack.commandBody(CHANNEL, user, `pause ${VIEW.rolloutId}`))).body;
  slack.addUser('U0CARL', { email: 'U0Carl@Example.com', name: '<!channel> *Ann* ann@example.com' });
  assert.match(await says('U0CARL'), /ok/);
  assert.deepEqual(asked, ['u0carl@example.com']);
  assert.deepEqual(rolesSeen, ['approver']);
  for (const [user, change, why] of [
    ['U0GUEST', { restricted: true }, /guests can’t decide/],
    ['U0GONE', { deleted: true }, /deactivated/],
    ['U0BOT1', { bot: true }, /a bot/],
    ['U0FAR', { stranger: true }, /another workspace/],
    ['U0FAR2', { team: 'T0OTHER' }, /another workspace/],
    ['U0MUTE', { email: null }, /does not tell your mail address/],
    ['U0MALLORY', { email: 'mallory@example.com' }, /nobody here/],
  ] as const) {
    slack.addUser(user, change);
    assert.match(await says(user), why);
  }
  assert.match(await says('U0UNKNOWN'), /does not say who you are/);
  assert.equal(rolesSeen.length, 1);
});

test('who is who is asked again after five minutes, and where Slack does not say, nobody is let in', async () => {
  byMail = async (email) => identity(email);
  await stop();
  await start();
  slack.addUser('U0DORA', { email: 'dora@example.com' });
  const says = async (): Promise<string> =>
    (await slack.send(at.commands, slack.commandBody(CHANNEL, 'U0DORA', `pause ${VIEW.rolloutId}`), { atMs: now() }))
      .body;
  await says();
  await says();
  assert.equal(slack.countOf('users.info'), 1);
  slack.addUser('U0DORA', { email: 'other@example.com' });
  const laterMs = Date.now() + 5 * 60_000 + 1000;
  now = () => laterMs;
  await says();
  assert.equal(core.said.at(-1)?.subject, 'other@example.com');
  const evenLaterMs = laterMs + 5 * 60_000 + 1000;
  now = () => evenLaterMs;
  slack.trouble('users.info', 'error before');
  assert.match(await says(), /Refused: Slack does not say who you are.*https:/);
  assert.equal(core.said.length, 3);
});

test('a dialog that was altered, moved to somebody else, or is not ours decides nothing', async () => {
  await click('U0ANN');
  const view = await slack.dialogOf('U0ANN');
  const dot = view.private_metadata.lastIndexOf('.');
  const text = view.private_metadata.slice(0, dot);
  const mac = view.private_metadata.slice(dot + 1);
  const altered = (change: object): string =>
    `${JSON.stringify({ ...(JSON.parse(text) as object), ...change })}.${mac}`;
  for (const metadata of [
    altered({ rolloutId: 'fedcba9876543210' }),
    altered({ planDigest: `sha256:${'0'.repeat(64)}` }),
    altered({ verb: 'reject' }),
    altered({ user: 'U0BERT' }),
    text,
    `${text}.`,
    '',
    '{}',
  ]) {
    const answer = await slack.send(at.interactions, slack.submitBody(view, 'ok', {}, metadata));
    assert.match(errorsOf(answer.body), /not as Slipway gave it/);
  }
  const stolen = { ...view, user: 'U0BERT' };
  assert.match(errorsOf((await slack.send(at.interactions, slack.submitBody(stolen, 'ok'))).body), /somebody else/);
  const foreign = await slack.send(at.interactions, slack.submitBody(view, 'ok', { team: { id: 'T0OTHER' } }));
  assert.match(errorsOf(foreign.body), /workspace/);
  assert.equal(core.said.length, 0);
});

test('a button that carries something else is refused', async () => {
  for (const value of ['{}', 'x', JSON.stringify({ rolloutId: '../..', gate: 'g', planDigest: 'd', label: '' })]) {
    const actions = [{ action_id: ACTIONS.approve, action_ts: '1.1', value }];
    assert.equal((await click('U0ANN', ACTIONS.approve, { actions })).status, 200);
  }
  await slack.toldTo('U0ANN', /not one of Slipway’s/);
  assert.equal((await click('U0ANN', ACTIONS.details)).status, 200);
  assert.equal(slack.views.length, 0);
});

test('a command tells, decides, or asks for the reason', async () => {
  const says = async (text: string, user = 'U0ANN'): Promise<string> => {
    const { status, body } = await slack.send(at.commands, slack.commandBody(CHANNEL, user, text));
    assert.equal(status, 200);
    return body;
  };
  const id = VIEW.rolloutId;
  assert.match(await says(''), /\/slipway status <id>/);
  assert.match(await says('dance'), /\/slipway status <id>/);
  assert.match(await says('status'), /Which rollout/);
  assert.match(await says("status ' or 1=1"), /Which rollout/);
  const status = await says(`status ${id}`);
  assert.match(status, /hello:v2.*awaiting-approval.*0 of 2 approvals/);
  assert.match(status, /"response_type":"ephemeral"/);
  assert.match(await says('status 0000000000000000'), /no rollout/);
  assert.match(await says(`pause ${id} wait for the on-call`), /pause counted/);
  assert.deepEqual([core.said[0]?.decision.verb, core.said[0]?.decision.reason], ['pause', 'wait for the on-call']);
  await says(`resume ${id}`);
  await says(`abort ${id} it is wrong`);
  assert.deepEqual(
    core.said.map(({ decision }) => decision.verb),
    ['pause', 'resume', 'abort'],
  );
  assert.match(await says(`break-glass ${id} now`), /not for Slack/);
  assert.equal(await says(`approve ${id}`), '');
  const view = await slack.dialogOf('U0ANN');
  assert.match(JSON.stringify(view.blocks), /canary_10/);
  await slack.send(at.interactions, slack.submitBody(view, 'ok'));
  assert.deepEqual(
    [core.said.at(-1)?.decision.verb, core.said.at(-1)?.decision.planDigest],
    ['approve', VIEW.plan?.digest],
  );
  assert.match(await says(`abort ${id}`, 'U0NOBODY'), /Refused:/);
  assert.equal(core.effects.size, 4);
});

test('a command whose answer takes long is acknowledged, and answered later', async () => {
  core.answer = async () => {
    await sleep(1500);
    return { kind: 'refused', text: 'it is over', next: 'start another' };
  };
  const answer = await slack.send(at.commands, slack.commandBody(CHANNEL, 'U0ANN', `abort ${VIEW.rolloutId}`));
  assert.ok(answer.ms < 1400);
  assert.match(answer.body, /the answer follows/);
  await slack.toldTo('U0ANN', /Refused: it is over\. start another/);
});

test('an address for answers that is not Slack’s is not called', async () => {
  const seen: string[] = [];
  const trap = serve({
    fetch: (request) => (seen.push(request.url), new Response('ok')),
    port: 0,
    hostname: '127.0.0.1',
  });
  await new Promise<void>((resolve) => trap.once('listening', () => resolve()));
  const url = `http://127.0.0.1:${(trap.address() as AddressInfo).port}/x`;
  await click('U0ANN', ACTIONS.approve, { team: { id: 'T0OTHER' }, response_url: url });
  await slack.toldTo('U0ANN', /workspace/);
  assert.deepEqual(seen, []);
  trap.close();
});
