import { loadClientConnectConfig } from '@temporalio/envconfig';

/** How to reach Temporal, by its own settings (`TEMPORAL_ADDRESS` …) in an environment that the entry has read. */
export function connectConfig(env: Readonly<Record<string, string | undefined>>) {
  const given = Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ''),
  );
  const { connectionOptions, namespace } = loadClientConnectConfig({ overrideEnvVars: given });
  return {
    connectionOptions,
    namespace: namespace ?? 'default',
    address: connectionOptions.address ?? 'localhost:7233',
  };
}
