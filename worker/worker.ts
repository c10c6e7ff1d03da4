import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { Logger as TemporalLogger, LogLevel, LogMetadata, WorkerInterceptors } from '@temporalio/worker';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { readTrustedKeys } from '../activities/decisions/verify-decision.js';
import { createActivities } from '../activities/index.js';
import { createMetricsFactory } from '../activities/metrics/metrics-for.js';
import { createLogNotifier } from '../activities/notify/log-notifier.js';
import { createWebhookNotifier } from '../activities/notify/webhook-notifier.js';
import { combineNotifiers } from '../activities/notify/notifier.js';
import { createRiskModel } from '../activities/risk-model/risk-model.js';
import { createPlatforms } from './platforms.js';
import { connectRegistry } from './registry.js';
import { openStorage } from './storage.js';
import { SLIPWAY_VERSION } from '../domain/version.js';
import { connectConfig } from '../client/connection.js';
import { ensureSetup } from '../client/setup.js';
import {
  checkSignal,
  LANE_WORKFLOW,
  laneWorkflowId,
  waitsQueue,
  WORKFLOW_TASK_TIMEOUT,
} from '../workflows/messages.js';
import { createSlackApi } from '../formats/slack-api.js';
import type { WorkerConfig } from './config.js';
import { startWorkerHttp } from './http.js';
import { createMetrics } from './metrics.js';

const SETUP_EVERY_MS = 60_000;

export interface RunWorkerOptions {
  readonly config: WorkerConfig;
  /** The environment, for Temporal's own settings. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Path of the workflow bundle that was built with this version of the SDK. */
  readonly bundlePath: string;
  /** For tests that end a worker at an exact moment. */
  readonly interceptors?: WorkerInterceptors;
  /** Told once the worker takes work. */
  readonly onReady?: (worker: { readonly httpUrl: string }) => void;
}

/** Runs a worker until it is told to stop (SIGINT, SIGTERM). Several may run at once, on any number of machines. */
export async function runWorker(options: RunWorkerOptions): Promise<void> {
  /** What has been opened, newest last: closed in the opposite order, also by a worker that could not start. */
  const opened: (() => Promise<void>)[] = [];
  try {
    await serve(options, opened);
  } finally {
    // What can't be closed must not hide why the worker ended.
    for (const close of opened.reverse()) await close().catch(() => undefined);
  }
}

async function serve(
  { config, env, bundlePath, interceptors, onReady }: RunWorkerOptions,
  opened: (() => Promise<void>)[],
): Promise<void> {
  const logger = pino(
    { level: config.logLevel, base: { config: config.version } },
    pino.destination({ dest: 2, sync: true }),
  );
  const storage = openStorage(config.storage);
  await storage.check();
  const registry = await connectRegistry(config.registry);

  const sdkMetricsAddress = `127.0.0.1:${await freePort()}`;
  const metrics = createMetrics();
  metrics.info.set({ version: SLIPWAY_VERSION, config: config.version }, 1);
  const workers: Worker[] = [];
  const notReady = (): string | null => {
    const states = workers.map((worker) => worker.getState());
    if (states.length === 0) return 'not taking work: starting';
    return states.every((state) => state === 'RUNNING') ? null : `not taking work: ${states.join(', ')}`;
  };
  const http = await startWorkerHttp({
    ...config.http,
    registry: metrics.registry,
    sdkMetricsUrl: `http://${sdkMetricsAddress}/metrics`,
    notReady,
  });
  opened.push(() => http.close());

  // From here on the process lives until the last connection is closed.
  Runtime.install({
    logger: temporalLogger(logger),
    telemetryOptions: {
      logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
      metrics: {
        prometheus: {
          bindAddress: sdkMetricsAddress,
          countersTotalSuffix: true,
          unitSuffix: true,
          useSecondsForDurations: true,
        },
      },
    },
    shutdownSignals: ['SIGINT', 'SIGTERM'],
  });

  const { connectionOptions, namespace } = connectConfig(env);
  const connection = await NativeConnection.connect(connectionOptions);
  opened.push(() => connection.close());
  const clientConnection = await Connection.connect(connectionOptions);
  opened.push(() => clientConnection.close());
  const client = new Client({ connection: clientConnection, namespace });
  await ensureSetup(client, config);

  const notifier = combineNotifiers({
    log: createLogNotifier(logger),
    channels: Object.fromEntries(
      Object.entries(config.webhooks).map(([name, url]) => [name, createWebhookNotifier({ name, url })]),
    ),
  });
  const activities = createActivities({
    platforms: createPlatforms(config, {
      warn(text) {
        logger.warn(text);
      },
      onKubeAnswer: (answer) => metrics.kubernetesRequests.inc({ ...answer }),
    }),
    metricsFor: createMetricsFactory({ scrapeDir: path.resolve(config.dataDir, 'scrapes'), secrets: config.secrets }),
    ...storage,
    trustedKeys: () => readTrustedKeys(path.resolve(config.trustedKeysFile)),
    registry,
    riskModel: createRiskModel(config.riskModel),
    notifier: {
      async notify(notification) {
        try {
          await notifier.notify(notification);
          metrics.notifications.inc({ severity: notification.severity, result: 'sent' });
        } catch (error) {
          metrics.notifications.inc({ severity: notification.severity, result: 'failed' });
          throw error;
        }
      },
    },
    slack: {
      api:
        config.slack.botToken === null
          ? null
          : createSlackApi({ apiUrl: config.slack.apiUrl, token: config.slack.botToken }),
      publicUrl: config.publicUrl,
    },
    // The gates of the policy come with the issue on evidence: until then a policy can't ask for any.
    evidenceGate: async () => ({ kind: 'pass', text: 'no evidence is asked for' }),
    wakeLane: async (temporal, { lane, target }) => {
      await temporal.workflow.signalWithStart(LANE_WORKFLOW, {
        workflowId: laneWorkflowId(lane),
        taskQueue: config.taskQueue,
        workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
        args: [{ lane, state: null }],
        signal: checkSignal,
        signalArgs: [{ target }],
      });
    },
    onEffect: ({ op, result }) => metrics.effects.inc({ op, result }),
    onLook: ({ lateMs, verdict }) => {
      metrics.looks.inc({ verdict });
      metrics.lookDelay.observe(lateMs / 1000);
    },
    onEnded: (ended) => metrics.ended.inc(ended),
    isStopping: () => workers.some((worker) => worker.getState() !== 'RUNNING'),
  });

  const shared = { connection, namespace, activities, ...(interceptors === undefined ? {} : { interceptors }) };
  const effects = await Worker.create({
    ...shared,
    taskQueue: config.taskQueue,
    workflowBundle: { codePath: bundlePath },
    maxCachedWorkflows: config.maxCachedWorkflows,
    // What a dead or frozen worker costs is set by these numbers together: durability-notes.md, section 3. Where many
    // rollouts want to go on at once, a task that waits for longer than this goes to the queue for all workers, where it
    // waits again and is replayed: with 1 s, 200 rollbacks at once took twice as long.
    stickyQueueScheduleToStartTimeout: '4s',
    maxConcurrentWorkflowTaskPolls: 10,
    // One thread runs them all, and a replay takes 0.1 s: a worker that took many more at once could not keep the task
    // timeout of 3 s, and under load would do nothing but begin again.
    maxConcurrentWorkflowTaskExecutions: 16,
    maxConcurrentActivityTaskPolls: 4,
    shutdownGraceTime: '5s',
    shutdownForceTime: '20s',
  });
  const waits = await Worker.create({
    ...shared,
    taskQueue: waitsQueue(config.taskQueue),
    maxConcurrentActivityTaskExecutions: config.maxWatches,
    // A watch is begun again by another worker at once, which finds by its key what this one may have written.
    shutdownGraceTime: '500ms',
    shutdownForceTime: '20s',
  });

  workers.push(effects, waits);
  const upkeep = setInterval(() => {
    ensureSetup(client, config).then(
      ({ added, schedule }) => {
        if (added.length > 0 || schedule === 'created')
          logger.warn({ added, schedule }, 'the Temporal namespace had lost its set-up: made ready again');
      },
      (error: unknown) =>
        logger.warn({ error: String(error) }, 'the set-up of the Temporal namespace could not be checked'),
    );
  }, SETUP_EVERY_MS);
  opened.push(async () => clearInterval(upkeep));

  const running = Promise.all([effects.run(), waits.run()]);
  logger.info(
    { taskQueue: config.taskQueue, namespace, http: http.url, dataDir: path.resolve(config.dataDir) },
    'worker started',
  );
  onReady?.({ httpUrl: http.url });
  await running;
  logger.info('worker stopped');
}

/** The SDK's own log, as pino lines. */
function temporalLogger(logger: Logger): TemporalLogger {
  const write = (level: LogLevel, message: string, meta?: LogMetadata): void => {
    const name =
      level === 'TRACE'
        ? 'trace'
        : level === 'DEBUG'
          ? 'debug'
          : level === 'INFO'
            ? 'info'
            : level === 'WARN'
              ? 'warn'
              : 'error';
    logger[name](meta ?? {}, message);
  };
  return {
    log: write,
    trace: (message, meta) => write('TRACE', message, meta),
    debug: (message, meta) => write('DEBUG', message, meta),
    info: (message, meta) => write('INFO', message, meta),
    warn: (message, meta) => write('WARN', message, meta),
    error: (message, meta) => write('ERROR', message, meta),
  };
}

/** The SDK can't be asked which port it took, so it is given a free one. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
