import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, Connection } from '@temporalio/client';

import { startPrometheus } from '../../tools/prometheus-server.js';
import { startTemporal } from '../../tools/temporal-server.js';
import { findPrometheus, findTemporal, reasonToSkip } from '../../tools/toolbox.js';

interface QueryAnswer {
  readonly data: { readonly result: readonly { metric: Record<string, string>; value: [number, string] }[] };
}

describe('real servers', async () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-servers-'));
  });

  after(() => rm(folder, { recursive: true, force: true }));

  test('Temporal keeps its state when it is killed', { skip: await reasonToSkip(findTemporal) }, async (t) => {
    const started = performance.now();
    const server = await startTemporal({
      dbFile: join(folder, 'temporal.db'),
      namespace: 'kept',
      searchAttributes: { SlipwayService: 'Keyword' },
    });
    try {
      t.diagnostic(`Temporal up in ${Math.round(performance.now() - started)} ms`);
      await usingClient(server.address, async (client) => {
        await client.workflow.start('noWorkerRunsThis', { taskQueue: 'none', workflowId: 'waiting' });
      });

      const { pid } = server;
      await server.kill9();
      const killed = performance.now();
      await server.restart();
      t.diagnostic(`Temporal back in ${Math.round(performance.now() - killed)} ms`);
      assert.notEqual(server.pid, pid);

      await usingClient(server.address, async (client) => {
        const description = await client.workflow.getHandle('waiting').describe();
        assert.equal(description.status.name, 'RUNNING');
      });
    } finally {
      await server.stop();
    }
  });

  test('Prometheus scrapes and keeps its samples', { skip: await reasonToSkip(findPrometheus) }, async (t) => {
    const service = createServer((request, response) => {
      response.setHeader('content-type', 'text/plain; version=0.0.4');
      response.end(request.url === '/numbers' ? 'slipway_answer 42\n' : '');
    });
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    const { port } = service.address() as AddressInfo;

    const started = performance.now();
    const prometheus = await startPrometheus({
      scrapeIntervalMs: 200,
      dataDir: join(folder, 'prometheus'),
      targets: [
        { job: 'service', url: `http://127.0.0.1:${port}/numbers`, labels: { arm: 'canary' } },
        { job: 'service', url: `127.0.0.1:${port}`, labels: { arm: 'stable' } },
      ],
    });
    try {
      t.diagnostic(`Prometheus up in ${Math.round(performance.now() - started)} ms`);
      const [sample] = await queryUntilFound(prometheus.url, 'slipway_answer');
      assert.equal(sample?.value[1], '42');
      assert.equal(sample?.metric['job'], 'service');
      assert.equal(sample?.metric['arm'], 'canary');

      await prometheus.kill9();
      await prometheus.restart();
      assert.equal((await queryUntilFound(prometheus.url, 'count_over_time(slipway_answer[1m])')).length, 1);
    } finally {
      await prometheus.stop();
      service.closeAllConnections();
      service.close();
    }
  });
});

async function usingClient(address: string, use: (client: Client) => Promise<void>): Promise<void> {
  const connection = await Connection.connect({ address });
  try {
    await use(new Client({ connection, namespace: 'kept' }));
  } finally {
    await connection.close();
  }
}

async function queryUntilFound(url: string, query: string): Promise<QueryAnswer['data']['result']> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(100)) {
    const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(query)}`);
    const { data } = (await response.json()) as QueryAnswer;
    if (data.result.length > 0) return data.result;
  }
  assert.fail(`Prometheus has no ${query} after 10 s`);
}
