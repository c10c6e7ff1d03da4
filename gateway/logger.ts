/** Where the gateway says what it does, one line at a time. */
export interface GatewayLogger {
  info(line: string): void;
  warn(line: string): void;
}
