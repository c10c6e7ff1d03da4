import { releaseName } from '../../domain/release.js';
import type { HashedRelease } from '../../domain/release.js';
import type { LocalRun, TemplateSource } from '../../domain/target.js';
import type { ArmTemplate } from '../../formats/gateway.js';
import type { TemplateResult } from '../fenced/store.js';
import type { GatewayTypes } from './gateway-store.js';

export function templateFor(
  source: TemplateSource,
  recorded: ArmTemplate | null,
  run: LocalRun,
): TemplateResult<GatewayTypes> {
  switch (source.from) {
    case 'release':
      if (source.release.config !== undefined)
        return { kind: 'none', reason: 'the release names ConfigMaps or Secrets, and this platform has none' };
      return { kind: 'template', template: released(source.release, recorded, run) };
    case 'recorded':
      if (recorded === null)
        return { kind: 'none', reason: 'stable had no template when the rollout opened: there is none to restore' };
      return { kind: 'template', template: recorded };
  }
}

/** How the service is run is the owner's reviewed file's to say, at every release; images and patch are the release's. */
function released(release: HashedRelease, recorded: ArmTemplate | null, run: LocalRun): ArmTemplate {
  const named = Object.keys(release.images).length > 0;
  return {
    version: named ? releaseName(release.images) : (recorded?.version ?? 'unnamed'),
    command: [...run.command],
    cwd: run.cwd,
    env: { ...run.env, ...release.env },
    healthPath: run.healthPath,
    images: { ...(named ? release.images : recorded?.images) },
  };
}
