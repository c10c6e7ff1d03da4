import path from 'node:path';
import { createArchive } from '../activities/archive/archive.js';
import type { Archive } from '../activities/archive/archive.js';
import { createFolderStore } from '../activities/evidence/evidence-store.js';
import type { EvidenceStore } from '../activities/evidence/evidence-store.js';
import { createObjectEvidence } from '../activities/evidence/object-evidence.js';
import { createFolderObjects } from '../activities/objects/folder-objects.js';
import { createS3Objects } from '../activities/objects/s3-objects.js';
import { createTrailStore } from '../activities/trail/trail-store.js';
import type { TrailStore } from '../activities/trail/trail-store.js';
import type { StorageConfig } from './config.js';

/** What is kept for good: the same for workers, servers and commands. */
export interface Storage {
  readonly evidence: EvidenceStore;
  readonly trails: TrailStore;
  readonly archive: Archive;
  /** Where it is, for people. */
  readonly place: string;
  /** @throws EvidenceUnusable, ObjectStoreUnusable */
  check(): Promise<void>;
}

/** A folder, or a bucket. Touches nothing yet. */
export function openStorage({ dataDir, s3 }: StorageConfig): Storage {
  const place = s3 === null ? path.resolve(dataDir) : `s3://${s3.bucket}/${s3.prefix}`;
  const objects = s3 === null ? createFolderObjects(place) : createS3Objects(s3);
  const evidence = s3 === null ? createFolderStore(path.join(place, 'evidence')) : createObjectEvidence(objects, place);
  return {
    evidence,
    trails: createTrailStore(objects),
    archive: createArchive(evidence, objects),
    place,
    async check() {
      await evidence.check();
      await objects.check();
    },
  };
}
