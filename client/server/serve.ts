import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { destination, pino } from 'pino';
import type { Logger } from 'pino';
import { SLIPWAY_VERSION } from '../../domain/version.js';
import { CliError, EXIT } from '../exit-codes.js';
import { Slipway } from '../slipway.js';
import { createApp } from './app.js';
import type { ServerConfig } from './config.js';
import { folderPolicies, sentPolicies } from './policies.js';
import type { Seams } from './seams.js';
import { loadSigningKey } from './signing-key.js';

/** People wait for the answer: what no worker takes within this time is recorded instead. */
const UPDATE_MS = 3000;
const HEADERS_MS = 10_000;
const REQUEST_MS = 30_000;

export interface RunningServer {
  /** Where it listens. */
  readonly url: string;
  /** Where people reach it. */
  readonly publicUrl: string;
  /** Ends all streams, answers what is under way, and stops. */
  close(): Promise<void>;
}

export interface ServeOptions extends Seams {
  readonly config: ServerConfig;
  /** The environment, for Temporal's own settings. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly pingMs?: number;
}

/** The server's log: JSON lines on standard error, which never hold a credential. */
export function createServerLog(level: ServerConfig['logLevel']): Logger {
  return pino(
    {
      level,
      base: { service: 'slipway-server', version: SLIPWAY_VERSION },
      redact: {
        paths: [
          'authorization',
          'cookie',
          'token',
          'headers',
          '*.authorization',
          '*.cookie',
          '*.token',
          '*["set-cookie"]',
        ],
        censor: '[redacted]',
      },
    },
    destination({ fd: 2, sync: true }),
  );
}

/** Starts the server. @throws CliError where a setting, a file or the port can't be used */
export async function serve({ config, env, log, pingMs, ...seams }: ServeOptions): Promise<RunningServer> {
  const signingKey = await loadSigningKey(config.signingKeyFile, config.trustedKeysFile);
  const policies =
    config.policies === null ? sentPolicies() : await folderPolicies(config.policies, (text) => log.warn(text));
  const slipway = await Slipway.connect(env, { updateMs: UPDATE_MS });
  try {
    // The port may be any, and the application must know its own address.
    const http = createServer({ headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, maxHeaderSize: 16_384 });
    await new Promise<void>((resolve, reject) => {
      http.once('error', (error: NodeJS.ErrnoException) => reject(cantListen(error, config)));
      http.listen(config.port, config.host, resolve);
    });
    const { port } = http.address() as AddressInfo;
    const url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`;
    const publicUrl = config.publicUrl ?? url;
    const server = createApp({
      ...seams,
      config,
      publicUrl,
      slipway,
      signingKey,
      policies,
      log,
      ...(pingMs === undefined ? {} : { pingMs }),
    });
    const listener = getRequestListener(server.app.fetch, { overrideGlobalObjects: false });
    http.on('request', (request, response) => void listener(request, response));
    return {
      url,
      publicUrl,
      async close() {
        server.close();
        await new Promise<void>((resolve) => {
          http.close(() => resolve());
          http.closeIdleConnections();
          setTimeout(() => http.closeAllConnections(), 2000).unref();
        });
        await slipway.close();
      },
    };
  } catch (error) {
    await slipway.close();
    throw error;
  }
}

function cantListen(error: NodeJS.ErrnoException, { host, port }: ServerConfig): CliError {
  const why = error.code === 'EADDRINUSE' ? 'something else listens there' : error.message;
  return new CliError(
    EXIT.usage,
    `the server can't listen on ${host}:${port}: ${why}`,
    'stop it, or set SLIPWAY_SERVER_PORT; 0 takes a free port',
  );
}
