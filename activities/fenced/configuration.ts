/**
 * What templates refer to and don't contain. Pods read it when they start, or at any time: where it changes while a
 * rollout is under way, arms no longer differ by the release alone.
 */
import type { Configuration } from '../../domain/target.js';
import type { LaneView } from './lane-view.js';
import type { LaneStore, PlatformTypes } from './store.js';

/** What templates refer to, as it is now. */
export function configurationOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  templates: readonly P['template'][],
  signal: AbortSignal | undefined,
): Promise<Configuration> {
  const names = templates.flatMap((template) => store.configurationNames(template));
  return store.configuration([...new Set(names)].toSorted(), signal);
}

/** What stands for an object that is not there. */
export const NO_SUCH = 'none';

export interface ChangedConfiguration {
  readonly found: string;
  readonly expected: string;
  /** There is nothing any more where there was something: it may be replaced just now. */
  readonly gone: boolean;
}

/** What was recorded, and is something else by now. Null where all of it is as it was, or nothing is known. */
export async function changedConfiguration<P extends PlatformTypes>(
  store: LaneStore<P>,
  { rollout }: Pick<LaneView<P>, 'rollout'>,
  signal: AbortSignal | undefined,
): Promise<ChangedConfiguration | null> {
  const recorded = rollout?.spec.recorded.configuration ?? {};
  const names = Object.keys(recorded);
  if (names.length === 0) return null;
  const now = await store.configuration(names, signal);
  // What may not be read any more has not changed for that.
  const changed = names.filter((name) => now[name] !== undefined && now[name] !== recorded[name]);
  if (changed.length === 0) return null;
  const said = (of: Configuration): string => changed.map((name) => `${name} ${shortened(of[name])}`).join(', ');
  return { found: said(now), expected: said(recorded), gone: changed.every((name) => now[name] === NO_SUCH) };
}

const SHOWN = 'sha256:'.length + 12;

function shortened(version = ''): string {
  return version.startsWith('sha256:') ? version.slice(0, SHOWN) : version;
}
