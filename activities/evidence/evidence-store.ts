// STUB-BY-LEAD
import { mkdir, writeFile, readFile } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, digestOf } from '../../domain/canonical.js';
export interface EvidenceStore { put(value: unknown): Promise<{ digest: string; size: number }>; get(digest: string): Promise<unknown>; check(): Promise<void> }
export function createFolderStore(dir: string): EvidenceStore {
  return {
    async put(value) { const digest = digestOf(value); const text = canonicalJson(value); await mkdir(dir, { recursive: true }); await writeFile(path.join(dir, digest.slice(7)), text); return { digest, size: text.length }; },
    async get(digest) { return JSON.parse(await readFile(path.join(dir, digest.slice(7)), 'utf8')); },
    async check() { await mkdir(dir, { recursive: true }); },
  };
}
