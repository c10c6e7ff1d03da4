import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { Source } from '../part.js';

/**
 * The download that Temporal's SDK does by itself. The SDK only downloads what it then starts,
 * so the server runs for a moment; what stays is the program. Its checksum is not pinned.
 */
export function temporalDownload(server: 'dev server' | 'test server', version: string): Source {
  return {
    kind: "Temporal's own download",
    what: 'over the open internet',
    obstacle: () =>
      import('@temporalio/testing').then(
        () => undefined,
        () => '@temporalio/testing is not installed',
      ),
    fetch: (folder) => download(server, version, folder),
  };
}

async function download(server: 'dev server' | 'test server', version: string, folder: string): Promise<string> {
  const { TestWorkflowEnvironment } = await import('@temporalio/testing');
  const executable = { type: 'cached-download', version: `v${version}`, downloadDir: folder } as const;
  const environment =
    server === 'dev server'
      ? await TestWorkflowEnvironment.createLocal({ server: { executable } })
      : await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
  await environment.teardown();

  const [program] = await readdir(folder);
  if (program === undefined) throw new Error('the SDK started a server but left no program');
  return join(folder, program);
}
