import { canonicalJson, shortDigest } from '../../domain/canonical.js';
import type { RolloutView } from '../../domain/rollout.js';
import { parseEnded, parseRecordedView } from '../../formats/archive.js';
import type { EndedRollout } from '../../formats/archive.js';
import type { RolloutRecord } from '../contract.js';
import type { EvidenceStore } from '../evidence/evidence-store.js';
import { keyOf } from '../objects/object-store.js';
import type { ObjectStore } from '../objects/object-store.js';

export interface EndedPage {
  /** The one that ended last comes first. */
  readonly rollouts: readonly EndedRollout[];
  /** Give it as `before` for what comes after these; null: there is no more. */
  readonly next: string | null;
}

export interface EndedQuery {
  readonly limit: number;
  /** `next` of the page before. */
  readonly before?: string;
  /** Which of them are wanted. @default all */
  readonly matches?: (rollout: EndedRollout) => boolean;
}

/** Rollouts that are over, by id and by the time of their end: readable for as long as the store is there. */
export interface Archive {
  /** Keeps a decision record, and where it is found. The same record is kept once. */
  keep(record: RolloutRecord): Promise<{ readonly digest: string }>;
  /** The ends of a rollout, the last one first: a run that was reset has ended before. Empty: none is known. */
  find(rolloutId: string): Promise<readonly EndedRollout[]>;
  /** The view as it was when the rollout ended. @throws EvidenceMissing, EvidenceDamaged, Error */
  view(ended: EndedRollout): Promise<RolloutView>;
  ended(query: EndedQuery): Promise<EndedPage>;
}

export function createArchive(evidence: EvidenceStore, objects: ObjectStore): Archive {
  async function read(key: string): Promise<EndedRollout | null> {
    const bytes = await objects.read(key);
    return bytes === null ? null : parseEnded(JSON.parse(Buffer.from(bytes).toString('utf8')));
  }

  return {
    async keep(record) {
      const { digest } = await evidence.put(record);
      const { view } = record;
      if (view.outcome === null || view.endedAt === null) return { digest };
      const ended: EndedRollout = {
        version: 1,
        rolloutId: view.rolloutId,
        lane: view.lane,
        release: view.releaseName,
        outcome: view.outcome,
        reason: view.reason,
        risk: view.assessment?.risk.score ?? null,
        startedAt: view.startedAt,
        endedAt: view.endedAt,
        record: digest,
      };
      const text = `${canonicalJson(ended)}\n`;
      const name = `${view.endedAt.replaceAll(':', '')}-${shortDigest(digest)}`;
      await objects.create(keyOf('rollouts', view.rolloutId, `${name}.json`), text);
      await objects.create(keyOf('ended', view.endedAt.slice(0, 7), `${name}.json`), text);
      return { digest };
    },

    async find(rolloutId) {
      const keys = await objects.keys(`${keyOf('rollouts', rolloutId)}/`);
      const found = await Promise.all(keys.toReversed().map(read));
      return found.filter((each) => each !== null);
    },

    async view({ record }) {
      return parseRecordedView(await evidence.get(record));
    },

    async ended({ limit, before, matches = () => true }) {
      const rollouts: EndedRollout[] = [];
      const months = (await objects.folders('ended/')).toReversed();
      for (const month of months) {
        const keys = (await objects.keys(`ended/${month}/`)).toReversed();
        for (const key of keys) {
          if (before !== undefined && key >= before) continue;
          const rollout = await read(key);
          if (rollout === null || !matches(rollout)) continue;
          rollouts.push(rollout);
          if (rollouts.length === limit) return { rollouts, next: key };
        }
      }
      return { rollouts, next: null };
    },
  };
}
