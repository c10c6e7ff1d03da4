import { canonicalJson, digestOfText } from '../../domain/canonical.js';
import { evidencePath } from '../../formats/evidence.js';
import type { ObjectStore } from '../objects/object-store.js';
import { EvidenceDamaged, EvidenceMissing } from './evidence-store.js';
import type { EvidenceStore } from './evidence-store.js';

/** Evidence by digest in a store of objects, laid out as in a folder: `evidence/sha256/…`. */
export function createObjectEvidence(objects: ObjectStore, shown: string): EvidenceStore {
  return {
    async put(value) {
      const text = canonicalJson(value);
      const digest = digestOfText(text);
      // What is there already under its digest is the same, or shows as damaged when it is read.
      await objects.create(`evidence/${evidencePath(digest)}`, text);
      return { digest, size: Buffer.byteLength(text) };
    },

    async get(digest) {
      const path = evidencePath(digest);
      if (path === null) throw new EvidenceMissing(`"${digest}" is no digest: sha256: and 64 hex digits are wanted`);
      const bytes = await objects.read(`evidence/${path}`);
      if (bytes === null) throw new EvidenceMissing(`evidence ${digest} is not in ${shown}`);
      const text = Buffer.from(bytes).toString('utf8');
      if (digestOfText(text) !== digest)
        throw new EvidenceDamaged(`evidence ${digest} in ${shown} was changed: its bytes have another digest`);
      return JSON.parse(text) as unknown;
    },

    check: () => objects.check(),
  };
}
