import { randomUUID } from 'node:crypto';
import type { Hono } from 'hono';
import type { Logger } from 'pino';
import { authorize } from '../../domain/people.js';
import type { Identity, Right } from '../../domain/people.js';
import type { SigningKey } from '../../formats/decision-token.js';
import { createSlackApi } from '../../formats/slack-api.js';
import type { Decided, Deciding } from '../slack/port.js';
import { slackRoutes } from '../slack/routes.js';
import type { Slipway } from '../slipway.js';
import type { Directory } from './auth/people.js';
import type { ServerConfig } from './config.js';
import type { DecisionBody, RunDocument } from './contract.js';
import { decide } from './decisions.js';
import { ApiProblem, PROBLEMS } from './problems.js';
import type { Located, Runs } from './runs.js';
import type { RefusalLog } from './seams.js';

export interface SlackCore {
  readonly config: ServerConfig;
  readonly publicUrl: string;
  readonly slipway: Slipway;
  readonly signingKey: SigningKey;
  readonly directory: Directory;
  readonly runs: Runs;
  readonly log: Logger;
  readonly refusals: RefusalLog | undefined;
  /** Told of each decision, counted or not. */
  readonly onDecided: (decided: {
    readonly rolloutId: string;
    readonly verb: DecisionBody['verb'];
    readonly result: string;
  }) => void;
}

/** Slack's ways in, over what the API itself does; null where no Slack is set up. */
export function slackFor(core: SlackCore): Hono | null {
  const { config, publicUrl, directory, log } = core;
  const { slack } = config.file;
  if (slack === undefined || config.slack.botToken === null) return null;
  const { apiUrl, botToken: token, signingSecrets } = config.slack;
  return slackRoutes({
    signingSecrets,
    appId: slack.app,
    teamId: slack.team,
    enterpriseId: slack.enterprise ?? null,
    api: createSlackApi({ apiUrl, token }),
    apiUrl,
    deciding: decidingOf(core),
    directory: {
      bySlack: async (team, user) => directory.slackPerson(team, user),
      byEmail: slack.matchEmail ? async (email) => directory.mailPerson(email) : null,
    },
    publicUrl,
    log,
  });
}

/** The same rules, in the same order, as for `POST /runs/:id/decisions`. */
function decidingOf({ slipway, signingKey, runs, refusals, onDecided }: SlackCore): Deciding {
  async function located(identity: Identity, rolloutId: string, right: Right): Promise<Located> {
    const found = await runs.locate(rolloutId);
    if (found === null || authorize(identity, 'view', found.ref.lane).kind === 'denied')
      throw new ApiProblem('not-found', `there is no rollout ${rolloutId} that you may see`);
    const allowed = authorize(identity, right, found.ref.lane);
    if (allowed.kind === 'denied') throw new ApiProblem('forbidden', allowed.text);
    return found;
  }

  async function counted(identity: Identity, rolloutId: string, said: DecisionBody): Promise<Decided> {
    const found = await located(identity, rolloutId, said.verb);
    if (found.archived !== null) throw new ApiProblem('refused', 'this rollout is over', { refusal: 'finished' });
    const { answer } = await decide({ slipway, key: signingKey }, { identity }, found.ref, said);
    return answer;
  }

  function refused(identity: Identity, rolloutId: string, problem: ApiProblem): Decided {
    const { code, status, message: text } = problem;
    refusals?.refused({
      at: new Date().toISOString(),
      requestId: randomUUID(),
      subject: identity.subject,
      method: 'POST',
      route: 'slack',
      status,
      code,
      text,
      rolloutId,
    });
    return { kind: 'refused', text, next: problem.more.next ?? PROBLEMS[code].next };
  }

  return {
    async decide(identity, rolloutId, said) {
      try {
        const decided = await counted(identity, rolloutId, said);
        onDecided({ rolloutId, verb: said.verb, result: decided.kind });
        return decided;
      } catch (error) {
        if (!(error instanceof ApiProblem) || error.status >= 500) throw error;
        onDecided({ rolloutId, verb: said.verb, result: error.code });
        return refused(identity, rolloutId, error);
      }
    },
    async status(identity, rolloutId): Promise<RunDocument | null> {
      try {
        return runs.document(await runs.view(await located(identity, rolloutId, 'view')), identity, null);
      } catch (error) {
        if (error instanceof ApiProblem && error.status < 500) return null;
        throw error;
      }
    },
  };
}
