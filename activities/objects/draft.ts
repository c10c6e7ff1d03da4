import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';

/** Ends the names of drafts, which are nothing yet. */
export const DRAFT = '.tmp';

/**
 * Writes a text beside a file and makes it durable, then has it put in the file's place: whoever is killed in between
 * leaves the file whole or not there. The draft is gone afterwards, whatever came of it.
 */
export async function throughDraft<T>(file: string, text: string, place: (draft: string) => Promise<T>): Promise<T> {
  const draft = `${file}.${randomUUID()}${DRAFT}`;
  try {
    const handle = await open(draft, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return await place(draft);
  } finally {
    await rm(draft, { force: true });
  }
}
