/** The gateway can't start: a port is taken, another gateway has the state directory, or its journal is damaged. */
export class GatewayStartError extends Error {
  override readonly name = 'GatewayStartError';
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's error code (`EADDRINUSE`), or null. */
export function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}
