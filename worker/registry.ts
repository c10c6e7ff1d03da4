import { DockerConfigUnusable, readDockerConfig } from '../activities/registry/docker-config.js';
import type { DockerConfig } from '../activities/registry/docker-config.js';
import { createHttpRegistry } from '../activities/registry/http-registry.js';
import type { ImageRegistry } from '../activities/registry/image-registry.js';
import { ConfigError } from './config.js';
import type { RegistryConfig } from './config.js';

const NO_LOGINS: DockerConfig = { loginFor: () => null };

/** Image registries as the settings say. @throws ConfigError when the logins can't be read */
export async function connectRegistry({ dockerConfig, insecure, timeoutMs }: RegistryConfig): Promise<ImageRegistry> {
  const logins = (): Promise<DockerConfig> =>
    dockerConfig === null ? Promise.resolve(NO_LOGINS) : readDockerConfig(dockerConfig);
  try {
    await logins();
  } catch (error) {
    if (!(error instanceof DockerConfigUnusable)) throw error;
    throw new ConfigError(`DOCKER_CONFIG: ${error.message}`);
  }
  return createHttpRegistry({ logins, insecure, timeoutMs });
}
