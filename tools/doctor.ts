/**
 * `npm run doctor`: which real parts are on this machine, what would be fetched and from what kind of source,
 * and what can't run here and why. `--fetch` fetches what is missing, `--json` prints one JSON document.
 */
import { findOnPath, isAtLeast, run } from './command.js';
import { networkNamespaceObstacle } from './network-namespace.js';
import { find, lookFor, PartUnavailable, usableSources, type Part } from './part.js';
import { parts } from './toolbox.js';

const OLDEST_NODE = '20.18.1';
const EX_UNAVAILABLE = 69;
const NEEDED_FOR_DEMO: ReadonlySet<string> = new Set(['Node.js', 'Temporal dev server', 'Prometheus']);

interface Finding {
  readonly part: string;
  readonly version: string;
  /** `fetchable`: not here, fetched when first used. */
  readonly state: 'here' | 'fetchable' | 'unavailable';
  readonly neededForDemo: boolean;
  readonly path?: string;
  readonly how?: string;
  /** For a fetchable part: the kind of source and what it brings. */
  readonly source?: string;
  /** Why it is not to be had, or why its preferred sources can't be used. */
  readonly reasons: readonly string[];
}

async function examine(fetchMissing: boolean): Promise<Finding[]> {
  const findings = [nodeFinding(), await commandFinding('npm'), await commandFinding('git')];
  for (const part of parts) findings.push(await partFinding(part, fetchMissing));
  findings.push(await namespaceFinding());
  return findings;
}

function nodeFinding(): Finding {
  const version = process.versions.node;
  const fits = isAtLeast(version, OLDEST_NODE);
  const about = { part: 'Node.js', version, neededForDemo: true, path: process.execPath };
  if (fits) return { ...about, state: 'here', how: 'running this', reasons: [] };
  return { ...about, state: 'unavailable', reasons: [`Slipway needs Node.js ${OLDEST_NODE} or later`] };
}

async function commandFinding(command: string): Promise<Finding> {
  const path = await findOnPath(command);
  const about = { part: command, neededForDemo: NEEDED_FOR_DEMO.has(command) };
  if (path === undefined) return { ...about, version: '', state: 'unavailable', reasons: ['not on PATH'] };
  const version = /\d+(\.\d+)+/.exec(await run(path, ['--version']))?.[0] ?? '';
  return { ...about, version, state: 'here', path, how: 'PATH', reasons: [] };
}

/** Where pods run as processes with addresses of their own. */
async function namespaceFinding(): Promise<Finding> {
  const about = { part: 'network namespace', version: '', neededForDemo: false };
  const obstacle = await networkNamespaceObstacle();
  if (obstacle !== undefined) return { ...about, state: 'unavailable', reasons: [obstacle] };
  return { ...about, state: 'here', path: 'unshare', how: 'tried', reasons: [] };
}

async function partFinding(part: Part, fetchMissing: boolean): Promise<Finding> {
  const about = { part: part.title, version: part.version, neededForDemo: NEEDED_FOR_DEMO.has(part.title) };
  try {
    const found = fetchMissing ? await find(part) : await lookFor(part);
    if (found !== undefined) return { ...about, ...found, state: 'here', reasons: [] };
    const { usable, obstacles: reasons } = await usableSources(part);
    const [source] = usable;
    if (source === undefined) return { ...about, state: 'unavailable', reasons };
    return { ...about, state: 'fetchable', source: `${source.kind}, ${source.what}`, reasons };
  } catch (error) {
    if (error instanceof PartUnavailable) return { ...about, state: 'unavailable', reasons: error.reasons };
    return { ...about, state: 'unavailable', reasons: [error instanceof Error ? error.message : String(error)] };
  }
}

function table(findings: readonly Finding[]): string {
  const rows = findings.map((finding) => [finding.part, finding.version, finding.state, explanation(finding)]);
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n');
}

function explanation({ path, how, source, reasons, state }: Finding): string {
  if (state === 'here') return `${path} (${how})`;
  const why = reasons.join('; ');
  if (state === 'unavailable') return why;
  return `would be fetched: ${source}${why === '' ? '' : ` (${why})`}`;
}

const options = process.argv.slice(2);
const unknown = options.filter((option) => !['--json', '--fetch'].includes(option));
if (unknown.length > 0) {
  process.stderr.write(`unknown option ${unknown.join(' ')}; there are --json and --fetch\n`);
  process.exit(64);
}

const findings = await examine(options.includes('--fetch'));
const missing = findings.filter((finding) => finding.neededForDemo && finding.state === 'unavailable');
if (options.includes('--json')) {
  process.stdout.write(`${JSON.stringify({ demoCanRun: missing.length === 0, parts: findings }, null, 2)}\n`);
} else {
  const verdict =
    missing.length === 0
      ? 'All that `npm run demo` needs is here or can be fetched.'
      : `\`npm run demo\` can't run here without: ${missing.map((finding) => finding.part).join(', ')}.`;
  process.stdout.write(`${table(findings)}\n\n${verdict}\n`);
}
process.exitCode = missing.length === 0 ? 0 : EX_UNAVAILABLE;
