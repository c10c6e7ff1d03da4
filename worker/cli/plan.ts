import { Refused, Unavailable } from '../../activities/failures.js';
import { platformOf } from '../../activities/platform.js';
import { resolveImages } from '../../activities/registry/resolve-images.js';
import { localTime } from '../../activities/risk-model/assess.js';
import type { CliContext, CommandResult } from '../../client/cli/context.js';
import { done } from '../../client/cli/context.js';
import { describeRelease } from '../../client/cli/release.js';
import type { ReleaseOptions } from '../../client/cli/release.js';
import { plain } from '../../client/cli/render.js';
import { CliError, EXIT } from '../../client/exit-codes.js';
import { neededText, rulesAt } from '../../domain/approval/rules.js';
import { bindImages } from '../../domain/image-binding.js';
import type { BoundImages } from '../../domain/image-binding.js';
import { configLines, imageLines, planLine } from '../../domain/details.js';
import { makePlan, plannedNeeds } from '../../domain/plan.js';
import { needsApproval, resolvesTags, strategyUnder } from '../../domain/policy.js';
import type { Policy } from '../../domain/policy.js';
import { hashRelease, releaseName, settingsOf } from '../../domain/release.js';
import type { Release } from '../../domain/release.js';
import { riskFloor } from '../../domain/risk-floor.js';
import type { Target } from '../../domain/target.js';
import { ConfigError, loadClusters, loadRegistryConfig, loadSecrets } from '../config.js';
import { createPlatforms } from '../platforms.js';
import { connectRegistry } from '../registry.js';
import { foreseen, trafficNow } from './foresee.js';

const UNAVAILABLE: Readonly<Record<Target['platform'], string>> = {
  local: 'start it with `slipway local-gateway`, or correct `gateway` in slipway.yaml',
  kubernetes: 'see whether `kubectl version` answers in that context, or correct `kubernetes.context` in slipway.yaml',
};

/** `slipway plan`: what a deploy would do, with nothing touched and no model asked. */
export async function plan(
  context: CliContext,
  service: string | undefined,
  options: ReleaseOptions,
): Promise<CommandResult> {
  const { policy, release } = await describeRelease(context, service, options);
  const platform = platformOf(
    createPlatforms(
      { gateways: [], kubernetes: [], clusters: loadClusters(context.env) },
      {
        warn(text) {
          context.out(text);
        },
        onKubeAnswer: () => undefined,
      },
    ),
    policy.target,
  );
  const scope = { lane: policy.lane, target: policy.target, rolloutId: 'plan' };
  const floor = riskFloor({
    files: release.change.files,
    truncated: release.change.truncated,
    message: release.change.message,
    settings: settingsOf(release),
    tier: policy.tier,
    recentRollbackDays: null,
    ...localTime(Date.now(), policy.risk.timeZone),
    policy: policy.risk,
  });
  try {
    const snapshot = await platform.describe(scope);
    const strategy = strategyUnder(policy, floor.strategy);
    const { images, findings: warnings } = await bound(context, policy, release.images);
    const planned = makePlan({ policy, release: hashRelease({ ...release, images }), strategy, snapshot, warnings });
    const findings = [...warnings, ...(await platform.preflight(scope, plannedNeeds(planned)))];
    const approval = needsApproval(policy, floor.approval);
    const traffic = await trafficNow(policy, planned.stableVersion, loadSecrets(context.env));
    const foresight = foreseen(policy, planned, traffic);
    if (!context.json) {
      context.out(
        `${policy.lane.service} in ${policy.lane.environment}: ${planned.stableVersion ?? '(nothing yet)'} → ${releaseName(release.images)}`,
      );
      context.out(`risk at least ${floor.score} (${floor.level}): the rules' floor; a model may raise it`);
      for (const factor of floor.factors) context.out(`  +${factor.weight} ${plain(factor.reason)}`);
      context.out(
        approval
          ? `approval: ${neededText(rulesAt(policy.approval, floor.level))} needed before anything is touched`
          : policy.approval.required === 'never'
            ? 'approval: none, says the policy'
            : 'approval: none asked for by the rules; a worker whose model gives no opinion asks for one',
      );
      context.out(`plan ${planned.digest}`);
      for (const line of imageLines(planned, policy)) context.out(`  image ${plain(line)}`);
      for (const line of configLines(planned.release)) context.out(`  ${plain(line)}`);
      context.out(`  ${planLine({ plan: planned, policy })}`);
      for (const stage of planned.stages) {
        const { stable, canary, baseline } = stage.weights;
        context.out(
          `  stage ${stage.number}: traffic stable ${stable} %, canary ${canary} %, baseline ${baseline} %; canary ${stage.canaryReplicas}, baseline ${stage.baselineReplicas} replicas`,
        );
      }
      context.out(
        `  at most ${planned.peakExtraReplicas} more replicas at one time; ${snapshot.freeReplicas === null ? 'room not known' : `room for ${snapshot.freeReplicas}`}`,
      );
      for (const line of foresight) context.out(`  ${plain(line)}`);
      for (const finding of findings)
        context.out(
          `${finding.severity === 'refuse' ? 'REFUSED' : 'warning'}: ${plain(finding.problem)}\n  → ${plain(finding.remedy)}`,
        );
      context.out('nothing was touched');
    }
    const refused = findings.some(({ severity }) => severity === 'refuse');
    return done(
      { plan: planned, risk: floor, approval, findings, foresight, touched: false },
      refused ? EXIT.notShipped : EXIT.completed,
    );
  } catch (error) {
    const { platform } = policy.target;
    if (error instanceof Unavailable) throw new CliError(EXIT.unavailable, error.message, UNAVAILABLE[platform]);
    if (error instanceof Refused)
      throw new CliError(EXIT.usage, error.message, `put ${platform} right in slipway.yaml`);
    if (error instanceof ConfigError)
      throw new CliError(EXIT.usage, error.message, 'correct the setting: a worker reads it in the same way');
    throw error;
  }
}

/** The images as a worker with these settings would bind them. */
async function bound(context: CliContext, policy: Policy, images: Release['images']): Promise<BoundImages> {
  if (!resolvesTags(policy)) return { images, findings: [] };
  const registry = await connectRegistry(loadRegistryConfig(context.env));
  return bindImages(images, await resolveImages(registry, images), policy.resolveTags);
}
