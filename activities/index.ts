import type { Activities, GateResult } from './contract.js';
import { createDecisionActivities } from './decisions/verify-decision.js';
import type { DecisionDeps } from './decisions/verify-decision.js';
import { createAssessment } from './risk-model/assess.js';
import type { AssessmentDeps } from './risk-model/assess.js';
import type { Archive } from './archive/archive.js';
import type { EvidenceStore } from './evidence/evidence-store.js';
import type { Notifier } from './notify/notifier.js';
import { retryable } from './failures.js';
import { createPlatformActivities } from './platform-activities.js';
import type { PlatformDeps } from './platform-activities.js';
import { createImageActivities } from './registry/resolve-images.js';
import type { ImageDeps } from './registry/resolve-images.js';
import { createRunActivities } from './runs.js';
import type { RunDeps } from './runs.js';
import { createSlackMessage } from './slack/slack-message.js';
import type { SlackDeps } from './slack/slack-message.js';
import { createTrailActivities } from './trail/append-trail.js';
import type { TrailStore } from './trail/trail-store.js';
import { createWatch } from './watch/watch.js';
import type { WatchDeps } from './watch/watch.js';

export interface ActivityDeps
  extends PlatformDeps, RunDeps, WatchDeps, AssessmentDeps, ImageDeps, DecisionDeps, SlackDeps {
  readonly evidence: EvidenceStore;
  readonly trails: TrailStore;
  readonly archive: Archive;
  readonly notifier: Notifier;
  /** The gates of a policy: the port passes where the policy asks for no evidence. */
  readonly evidenceGate: (call: Parameters<Activities['checkEvidence']>[0]) => Promise<GateResult>;
  readonly onEnded: (ended: { readonly outcome: string; readonly environment: string }) => void;
}

/** All activities, over the ports that the composition root hands in. */
export function createActivities(deps: ActivityDeps): Activities {
  return {
    ...createPlatformActivities(deps),
    ...createRunActivities(deps),
    ...createImageActivities(deps),
    ...createDecisionActivities(deps),
    ...createTrailActivities(deps),
    watch: createWatch(deps),
    assessRisk: createAssessment(deps),
    checkEvidence: (call) => deps.evidenceGate(call),
    notify: (notification) => deps.notifier.notify(notification),
    slackMessage: createSlackMessage(deps),
    async recordRollout(record) {
      deps.onEnded({ outcome: record.view.outcome ?? 'unknown', environment: record.view.lane.environment });
      const { digest } = await retryable(() => deps.archive.keep(record));
      return { digest };
    },
  };
}
