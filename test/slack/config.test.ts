/** What the server's configuration says of Slack. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Directory } from '../../client/server/auth/people.js';
import { loadServerConfig } from '../../client/server/config.js';

const FILE = {
  slack: { app: 'A0SLIPWAY', team: 'T0HOME', matchEmail: true },
  people: [
    {
      subject: 'ann@example.com',
      aliases: ['ann@old.example.com'],
      groups: ['release'],
      slack: [{ team: 'T0HOME', user: 'U0ANN' }],
    },
  ],
  roles: [{ role: 'approver', groups: ['release'], environments: ['prod'] }],
};
const SECRETS = { SLIPWAY_SLACK_BOT_TOKEN: 'xoxb-1', SLIPWAY_SLACK_SIGNING_SECRET: 'new, old' };

async function load(file: object, env: Record<string, string>) {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-slack-'));
  try {
    await writeFile(path.join(folder, 'slipway-server.yaml'), JSON.stringify(file));
    return await loadServerConfig(env, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('Slack in the file needs the token and the signing secret in the environment, and nothing of them is shown', async () => {
  const config = await load(FILE, { ...SECRETS, SLIPWAY_SLACK_API_URL: 'http://127.0.0.1:8/api/' });
  assert.deepEqual(config.slack, {
    botToken: 'xoxb-1',
    signingSecrets: ['new', 'old'],
    apiUrl: 'http://127.0.0.1:8/api',
  });
  assert.equal((await load(FILE, SECRETS)).slack.apiUrl, 'https://slack.com/api');
  for (const missing of Object.keys(SECRETS))
    await assert.rejects(load(FILE, { ...SECRETS, [missing]: '' }), new RegExp(`${missing} is not set`));
  await load({ ...FILE, slack: undefined }, {});
  await assert.rejects(load({ ...FILE, slack: { app: 'slipway', team: 'T0HOME' } }, SECRETS), /no id of a Slack app/);
});

test('a linked account is the person with its groups and roles; a mail address only of somebody who has a role', async () => {
  const { file } = await load(FILE, SECRETS);
  const directory = new Directory(file);
  const ann = directory.slackPerson('T0HOME', 'U0ANN');
  assert.equal(ann?.subject, 'ann@example.com');
  assert.deepEqual([ann.via, ann.kind, ann.groups], ['slack', 'person', ['release']]);
  assert.deepEqual(ann.grants, [{ role: 'approver', services: ['*'], environments: ['prod'] }]);
  assert.equal(directory.slackPerson('T0OTHER', 'U0ANN'), null);
  assert.equal(directory.slackPerson('T0HOME', 'U0BERT'), null);
  assert.equal(directory.mailPerson('Ann@old.example.com')?.subject, 'ann@example.com');
  assert.equal(directory.mailPerson('mallory@example.com'), null);
});
