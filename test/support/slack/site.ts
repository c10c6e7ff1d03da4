/** Temporal, a gateway, a worker and a server for Slack, each a process that may be killed, before a stand-in for Slack. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Slipway } from '../../../client/slipway.js';
import type { RolloutRequest, RolloutView } from '../../../domain/rollout.js';
import { ACTIONS } from '../../../domain/slack/message.js';
import { SLIPWAY, startStack } from '../../../tools/stack.js';
import { freePort, startServer } from '../../../tools/supervise.js';
import type { Server } from '../../../tools/supervise.js';
import { slackEndWorkflowId } from '../../../workflows/messages.js';
import { Pilot, until } from '../drive.js';
import { testPolicy, testRequest } from '../request.js';
import { APP, HOME, SIGNING_SECRET, SlackStandin, TOKEN } from './standin.js';
import type { Moment, StandinCall, StandinMessage, StandinView } from './standin.js';

export const PEOPLE = ['U0ANN', 'U0BERT'] as const;
const SUBJECTS = PEOPLE.map((user) => `${user.toLowerCase()}@example.com`);
const SERVER_FILE = {
  slack: { app: APP, team: HOME },
  people: PEOPLE.map((user, n) => ({ subject: SUBJECTS[n], slack: [{ team: HOME, user }] })),
  roles: [{ role: 'approver', subjects: SUBJECTS }],
};

/** The call at which something is killed: the first, in this channel, that is as described. */
export interface Point {
  readonly method: string;
  readonly moment: Moment;
  readonly where: 'channel' | 'thread';
  /** How many such calls are let pass before. */
  readonly after?: number;
}

export function pointName({ method, moment, where, after = 0 }: Point): string {
  return `${method} (${where}, number ${after + 1}) ${moment}`;
}

/** A worker takes 3 s to start, and many times that on a machine that is busy. */
const PATIENCE_MS = 180_000;

export interface Rollout {
  readonly request: RolloutRequest;
  readonly channel: string;
}

export class SlackSite {
  readonly slack: SlackStandin;
  readonly pilot: Pilot;
  /** Kills that have been done. */
  kills = 0;
  private busy: Promise<void> = Promise.resolve();
  private readonly points: { readonly point: Point; readonly channel: string; left: number; done: boolean }[] = [];
  private channels = 0;

  private constructor(
    private readonly parts: {
      readonly slack: SlackStandin;
      readonly slipway: Slipway;
      readonly worker: Server;
      readonly server: Server;
      readonly gateway: string;
      readonly url: string;
      readonly stop: () => Promise<void>;
    },
  ) {
    this.slack = parts.slack;
    this.pilot = new Pilot(parts.slipway);
    this.slack.onMoment = (call, moment) => this.atMoment(call, moment);
  }

  static async start(): Promise<SlackSite> {
    const slack = await SlackStandin.start();
    slack.limited = false;
    for (const user of PEOPLE) slack.addUser(user);
    const port = await freePort();
    const env = {
      SLIPWAY_SLACK_BOT_TOKEN: TOKEN,
      SLIPWAY_SLACK_API_URL: slack.apiUrl,
      SLIPWAY_PUBLIC_URL: 'https://slipway.example.com',
      SLIPWAY_SLACK_SIGNING_SECRET: SIGNING_SECRET,
      SLIPWAY_SERVER_PORT: String(port),
    };
    const stack = await startStack();
    const worker = await stack.startWorker(env);
    // YAML has all of JSON.
    await writeFile(path.join(stack.folder, 'slipway-server.yaml'), JSON.stringify(SERVER_FILE));
    const server = await startServer({
      name: 'slipway server',
      command: process.execPath,
      args: [SLIPWAY, 'server'],
      cwd: stack.folder,
      env: { ...stack.env, ...env },
      ready: `http://127.0.0.1:${port}/healthz`,
      logFile: path.join(stack.folder, 'server.log'),
    });
    const slipway = await Slipway.connect(stack.env);
    const stop = async (): Promise<void> => {
      await slipway.close();
      await server.stop();
      await stack.stop();
      await slack.stop();
    };
    const url = `http://127.0.0.1:${port}/slack`;
    return new SlackSite({ slack, slipway, worker, server, gateway: stack.adminUrl, url, stop });
  }

  async stop(): Promise<void> {
    await this.busy;
    await this.parts.stop();
    assert.deepEqual(this.slack.misuse, []);
  }

  newChannel(): string {
    this.channels += 1;
    return this.slack.addChannel(`C0CHANNEL${this.channels}`);
  }

  /** From now on the worker dies at this moment, and is started again. */
  killWorkerAt(channel: string, point: Point): void {
    this.points.push({ point, channel, left: point.after ?? 0, done: false });
  }

  isKilledIn(channel: string): boolean {
    return this.points.every((one) => one.channel !== channel || one.done);
  }

  async killWorker(): Promise<void> {
    this.kills += 1;
    await this.parts.worker.kill('SIGKILL');
  }

  async restartWorker(): Promise<void> {
    await this.parts.worker.restart();
  }

  /** The server dies so long after a dialog was submitted once, whatever became of that, and is started again. */
  async killServerAfterSubmit(view: StandinView, ms: number): Promise<void> {
    const submitted = this.slack.send(`${this.parts.url}/interactions`, this.slack.submitBody(view, 'ok'));
    await sleep(ms);
    this.kills += 1;
    await this.parts.server.kill('SIGKILL');
    await submitted;
    await this.parts.server.restart();
  }

  private async atMoment(call: StandinCall, moment: Moment): Promise<void> {
    const where = call.args['thread_ts'] === undefined ? 'channel' : 'thread';
    const hit = this.points.find(
      ({ point, channel, done }) =>
        !done &&
        channel === call.args['channel'] &&
        point.method === call.method &&
        point.moment === moment &&
        point.where === where,
    );
    if (hit === undefined) return;
    if (hit.left > 0) {
      hit.left -= 1;
      return;
    }
    hit.done = true;
    const { worker } = this.parts;
    // One after the other: a worker that is being started can't be killed at a moment of its choosing.
    const before = this.busy;
    const killed = before.then(async () => {
      this.kills += 1;
      await worker.kill('SIGKILL');
    });
    this.busy = killed.then(() => worker.restart());
    await killed;
  }

  /** Asks for a rollout that waits for two approvals before it touches anything. */
  async deploy(channel: string): Promise<Rollout> {
    const base = testPolicy({ gateway: this.parts.gateway, service: `hello-${channel.toLowerCase()}` });
    const approval = { ...base.approval, required: 'always', quorum: 2 } as const;
    const waits = { ...base.waits, approvalMs: 600_000 };
    const request = testRequest({ policy: { ...base, approval, waits, slack: { channel } }, tag: 'v1' });
    await until('it is accepted', () => this.pilot.deploy(request));
    return { request, channel };
  }

  /** Its view, once a worker is there to answer. */
  async view({ request }: Rollout): Promise<RolloutView> {
    return until('a worker answers', () => this.pilot.view(request), PATIENCE_MS);
  }

  messageIn(channel: string): StandinMessage | null {
    return this.slack.parents(channel)[0] ?? null;
  }

  /** Waits until the message has a button, presses it, and gives the dialog; presses again where nothing happens. */
  async press({ channel, request }: Rollout, user: string, action: keyof typeof ACTIONS): Promise<StandinView> {
    return until(
      'a dialog opens',
      async () => {
        const message = this.messageIn(channel);
        if (message === null || !JSON.stringify(message.blocks).includes(ACTIONS[action])) return null;
        const seen = this.slack.views.length;
        await this.slack.send(
          `${this.parts.url}/interactions`,
          this.slack.clickBody(channel, message.ts, user, ACTIONS[action]),
        );
        return this.slack.dialogOf(user, seen, 3000, request.rolloutId).catch(() => null);
      },
      PATIENCE_MS,
    );
  }

  /** Submits a dialog until it closes, as a person does. */
  async submit(view: StandinView, reason: string): Promise<void> {
    await until(
      'the dialog closes',
      async () => {
        const { status, body } = await this.slack.send(
          `${this.parts.url}/interactions`,
          this.slack.submitBody(view, reason),
        );
        return status === 200 && body === '';
      },
      PATIENCE_MS,
    );
  }

  /** Waits until what was left of a rollout that is over, because Slack was away, has been told. */
  async endIsTold({ request }: Rollout): Promise<void> {
    const { workflow } = this.parts.slipway.client;
    await workflow.getHandle(slackEndWorkflowId(request.policy.lane, request.rolloutId)).result();
  }

  /** What must hold in the end: one message that shows it, and a thread that tells each line of the story once. */
  async assertTold(rollout: Rollout, outcome: string): Promise<void> {
    const view = await this.pilot.ended(rollout.request, 150_000);
    assert.equal(view.outcome, outcome);
    const messages = this.slack.parents(rollout.channel);
    assert.equal(messages.length, 1, `${messages.length} messages`);
    const [message] = messages;
    assert.match(JSON.stringify(message?.blocks), new RegExp(`\\*${outcome}\\*`));
    const lines = this.slack
      .replies(rollout.channel, message?.ts ?? '')
      .flatMap(({ blocks }) => (blocks[0]?.text?.text ?? '').split('\n'))
      .map((line) => line.slice(2));
    assert.deepEqual(
      lines,
      view.timeline.map(({ text }) => text),
    );
  }
}

/** One site for all tests of a file: started before the first of them, stopped after the last. */
export function slackSite(): () => SlackSite {
  let site: SlackSite;
  before(async () => {
    site = await SlackSite.start();
  });
  after(() => site.stop());
  return () => site;
}
