import type { SlackCall } from '../activities/slack/slack-message.js';
import { lastFollowers } from './activity-profiles.js';
import { with_ } from './effects.js';

/**
 * Tells in Slack how a rollout ended that could not wait for Slack: its run has closed, its lane goes on, and this tries
 * until Slack is back.
 */
export async function slackEnd(call: SlackCall): Promise<void> {
  await with_(lastFollowers(), 'slackMessage', { summary: `Slack: ${call.card.status}` }, call);
}
