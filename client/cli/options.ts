import { parseDuration } from '../../formats/duration.js';
import { usage } from './context.js';

/** A duration given as a flag, ms. */
export function parseDurationOption(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw usage(`${flag} "${text}" is no duration`, 'write it with a unit: 90s, 15m, 24h');
  return ms;
}

/** A whole number given as a flag. */
export function parseCountOption(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw usage(`${flag} "${text}" is not accepted`, `write a whole number from 1 to ${most}`);
  return value;
}
