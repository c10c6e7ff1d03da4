import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, digestOfText } from '../../domain/canonical.js';
import type { Digest } from '../../domain/canonical.js';
import { evidencePath } from '../../formats/evidence.js';
import { throughDraft } from '../objects/draft.js';

/** Facts too large for a workflow's history, kept by the digest of their bytes: the same content is kept once. */
export interface EvidenceStore {
  /** Keeps a value as canonical JSON. @throws when the store can't be written */
  put(value: unknown): Promise<{ readonly digest: Digest; readonly size: number }>;
  /** The value of a digest. @throws EvidenceMissing, EvidenceDamaged */
  get(digest: string): Promise<unknown>;
  /** Proves at the start that the store can be used. @throws EvidenceUnusable, with the remedy */
  check(): Promise<void>;
}

export class EvidenceMissing extends Error {
  override readonly name = 'EvidenceMissing';
}
export class EvidenceDamaged extends Error {
  override readonly name = 'EvidenceDamaged';
}
export class EvidenceUnusable extends Error {
  override readonly name = 'EvidenceUnusable';
}

/** A folder that all workers share. A file appears whole or not at all, whoever is killed in between. */
export function createFolderStore(folder: string): EvidenceStore {
  async function write(file: string, text: string): Promise<void> {
    await mkdir(path.dirname(file), { recursive: true });
    await throughDraft(file, text, (draft) => rename(draft, file));
  }

  return {
    async put(value) {
      const text = canonicalJson(value);
      const digest = digestOfText(text);
      await write(fileOf(folder, digest), text);
      return { digest, size: Buffer.byteLength(text) };
    },

    async get(digest) {
      const file = fileOf(folder, digest);
      let text: string;
      try {
        text = await readFile(file, 'utf8');
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
          throw new EvidenceMissing(
            `evidence ${digest} is not in ${folder}: do all workers share one SLIPWAY_DATA_DIR?`,
          );
        }
        throw error;
      }
      if (digestOfText(text) !== digest)
        throw new EvidenceDamaged(`evidence ${digest} in ${folder} was changed: its bytes have another digest`);
      return JSON.parse(text) as unknown;
    },

    async check() {
      const probe = path.join(folder, 'probe');
      try {
        await write(probe, 'probe\n');
        await rm(probe, { force: true });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new EvidenceUnusable(
          `the evidence folder ${folder} can't be written (${why}): make it writable, or set SLIPWAY_DATA_DIR to a folder that all workers share`,
        );
      }
    },
  };
}

function fileOf(folder: string, digest: string): string {
  const file = evidencePath(digest);
  if (file === null) throw new EvidenceMissing(`"${digest}" is no digest: sha256: and 64 hex digits are wanted`);
  return path.join(folder, file);
}
