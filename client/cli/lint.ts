import { done } from './context.js';
import type { CliContext, CommandResult, FileOptions } from './context.js';
import { readServiceFile } from './service-file.js';

/** `slipway lint`: checks slipway.yaml; touches and asks nothing. */
export async function lint(context: CliContext, options: FileOptions): Promise<CommandResult> {
  const { fileName, config, warnings } = await readServiceFile(context, options);
  if (!context.json) {
    for (const warning of warnings)
      context.out(`${fileName}:${warning.line}:${warning.column}: warning: ${warning.message}\n  → ${warning.remedy}`);
    context.out(
      `${fileName} is valid: service ${config.service}, environments ${Object.keys(config.environments).join(', ')}`,
    );
  }
  return done({ valid: true, service: config.service, environments: Object.keys(config.environments), warnings });
}
