import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { freePort, startServer } from './supervise.js';
import { findPrometheus } from './toolbox.js';

export interface ScrapeTarget {
  readonly job: string;
  /** `http://host:port/path`, or `host:port` for its `/metrics`. */
  readonly url: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PrometheusOptions {
  readonly scrapeIntervalMs: number;
  readonly targets: readonly ScrapeTarget[];
  /** Gets the configuration, the samples and the log. */
  readonly dataDir: string;
  readonly port?: number;
}

export interface PrometheusServer {
  readonly url: string;
  /** The server's own process. */
  readonly pid: number;
  stop(): Promise<void>;
  /** Kills the server as a crash would and waits until it is gone. */
  kill9(): Promise<void>;
  /** Starts the server again on the same port and samples, whether it runs or was killed. */
  restart(): Promise<void>;
  logTail(lines?: number): Promise<string>;
}

/**
 * Starts a real Prometheus on 127.0.0.1 that scrapes the targets and ends with this process.
 * Its first scrape may come 5 s after it is ready, which is how often it looks for targets.
 * Prometheus 3 takes only samples whose response names their `Content-Type`.
 */
export async function startPrometheus(options: PrometheusOptions): Promise<PrometheusServer> {
  const { path } = await findPrometheus();
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const configFile = join(options.dataDir, 'prometheus.yml');
  await mkdir(options.dataDir, { recursive: true });
  await writeFile(configFile, JSON.stringify(configuration(options), null, 2));

  const server = await startServer({
    name: 'Prometheus',
    command: path,
    args: [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${join(options.dataDir, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    cwd: options.dataDir,
    ready: `${url}/-/ready`,
    logFile: join(options.dataDir, 'prometheus.log'),
  });
  return {
    url,
    get pid() {
      return server.pid;
    },
    stop: () => server.stop(),
    kill9: () => server.kill('SIGKILL'),
    restart: () => server.restart(),
    logTail: (lines) => server.logTail(lines),
  };
}

/** Prometheus reads YAML, and JSON is YAML. */
function configuration(options: PrometheusOptions): object {
  const interval = `${options.scrapeIntervalMs}ms`;
  const jobs = new Set(options.targets.map((target) => target.job));
  return {
    global: { scrape_interval: interval, scrape_timeout: interval },
    scrape_configs: [...jobs].map((job) => ({
      job_name: job,
      static_configs: options.targets.filter((target) => target.job === job).map(staticConfig),
    })),
  };
}

function staticConfig(target: ScrapeTarget): object {
  const url = target.url.includes('://') ? new URL(target.url) : new URL(`http://${target.url}/metrics`);
  return {
    targets: [url.host],
    labels: { ...target.labels, __scheme__: url.protocol.slice(0, -1), __metrics_path__: url.pathname },
  };
}
