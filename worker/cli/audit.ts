import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Refused, Unavailable } from '../../activities/failures.js';
import type { StoredTrail } from '../../activities/trail/trail-store.js';
import type { CliContext, CommandResult } from '../../client/cli/context.js';
import { done, usage } from '../../client/cli/context.js';
import { painter, plain } from '../../client/cli/render.js';
import { CliError, EXIT } from '../../client/exit-codes.js';
import { Slipway } from '../../client/slipway.js';
import { HEADS_LOG } from '../../domain/trail.js';
import type { TrailEntry, TrailHead } from '../../domain/trail.js';
import { auditTrail } from '../../formats/trail-audit.js';
import type { Anchor, AuditFinding, Level } from '../../formats/trail-audit.js';
import { readTrail } from '../../formats/trail-file.js';
import type { TrailReading } from '../../formats/trail-file.js';
import type { Storage } from '../storage.js';
import { storageOf } from './recorded.js';

export interface AuditOptions {
  readonly all?: boolean;
  /** `sha256:…:SIZE`. */
  readonly head?: string;
  readonly out?: string;
}

/** Rollouts that Temporal remembers, asked for when everything is verified. */
const REMEMBERED = 1000;

/** `slipway audit verify|show|export`: reads what is kept, changes nothing. */
export async function audit(
  context: CliContext,
  action: string,
  names: readonly string[],
  options: AuditOptions,
): Promise<CommandResult> {
  const auditor = new Auditor(context, storageOf(context));
  try {
    switch (action) {
      case 'verify':
        if (options.out !== undefined) throw usage('--out is for export', 'leave it out');
        return await auditor.verify(names, options);
      case 'show':
        refuseFlags(action, options, 'all', 'head', 'out');
        return await auditor.show(oneOf(names, action));
      case 'export':
        refuseFlags(action, options, 'all', 'head');
        return await auditor.export(oneOf(names, action), options.out);
      default:
        throw usage(`audit can't ${action}`, 'audit verify, audit show, or audit export');
    }
  } catch (error) {
    if (error instanceof Unavailable) throw new CliError(EXIT.unavailable, error.message, 'try again');
    if (error instanceof Refused)
      throw new CliError(EXIT.usage, error.message, 'correct SLIPWAY_EVIDENCE_STORE, SLIPWAY_S3_* or AWS_*');
    throw error;
  } finally {
    await auditor.close();
  }
}

function refuseFlags(action: string, options: AuditOptions, ...flags: readonly (keyof AuditOptions)[]): void {
  const odd = flags.find((flag) => options[flag] !== undefined);
  if (odd !== undefined) throw usage(`--${odd} does not go with audit ${action}`, 'leave it out');
}

function oneOf(names: readonly string[], action: string): string {
  const [name] = names;
  if (name === undefined || names.length > 1)
    throw usage(`audit ${action} is about one rollout`, `slipway audit ${action} ROLLOUT`);
  return name;
}

/** One account of a trail, and what can be said of it. */
interface Audited {
  readonly name: string;
  readonly run: string | null;
  readonly reading: TrailReading;
  readonly bytes: Uint8Array;
  readonly continues: StoredTrail['continues'];
  /** The run was reset: another one goes on from one of its entries. */
  readonly superseded: boolean;
  readonly finding: AuditFinding;
}

class Auditor {
  /** Asked for only where it can vouch for something. */
  private connection: Promise<Slipway | null> | null = null;
  private heads: Promise<TrailReading> | null = null;

  constructor(
    private readonly context: CliContext,
    private readonly storage: Storage,
  ) {}

  async close(): Promise<void> {
    await (await this.connection)?.close();
  }

  private get slipway(): Promise<Slipway | null> {
    this.connection ??= this.connect();
    return this.connection;
  }

  // Commands ----------------------------------------------------------------------------------------------------------

  async verify(names: readonly string[], options: AuditOptions): Promise<CommandResult> {
    const noted = options.head === undefined ? null : parseHead(options.head);
    if (options.all === true) {
      if (names.length > 0) throw usage('--all and names can’t go together', 'choose one of them');
      return this.verifyAll(noted);
    }
    if (names.length === 0) throw usage('it is not said what to verify', 'name a ROLLOUT or a FILE, or add --all');
    if (noted !== null && names.length > 1) throw usage('--head is of one trail', 'name one ROLLOUT or FILE');
    const audited: Audited[] = [];
    for (const name of names) audited.push(...(await this.auditNamed(name, noted)));
    return this.report(audited, {});
  }

  async show(name: string): Promise<CommandResult> {
    const audited = await this.auditNamed(name, null);
    const current = currentOf(audited);
    if (!this.context.json) {
      const paint = painter(this.context.color);
      for (const { seq, at, type, text } of current.reading.entries)
        this.context.out(
          `${String(seq).padStart(4)}  ${paint('gray', at.slice(0, 19).replace('T', ' '))}  ${type.padEnd(10)}  ${plain(text)}`,
        );
      this.note(current);
    }
    return done({ ...documentOf(current), entries: current.reading.entries }, exitCodeOf([current], EXIT.completed));
  }

  async export(name: string, out: string | undefined): Promise<CommandResult> {
    const current = currentOf(await this.auditNamed(name, null));
    const exitCode = exitCodeOf([current], EXIT.completed);
    const { reading, bytes } = current;
    if (out !== undefined) {
      try {
        await writeFile(path.resolve(this.context.cwd, out), bytes);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw usage(`${out} can't be written: ${why}`, 'name a file in a folder that exists');
      }
      this.context.note(`${reading.entries.length} entries are in ${out}`);
    } else if (!this.context.json) await this.context.write(Buffer.from(bytes).toString('utf8'));
    if (!this.context.json) this.note(current);
    return done(
      { ...documentOf(current), ...(out === undefined ? { entries: reading.entries } : { file: out }) },
      exitCode,
    );
  }

  private async verifyAll(noted: NotedHead | null): Promise<CommandResult> {
    const heads = await this.readHeads();
    const logs = await this.storage.trails.logs();
    const remembered = await this.remembered();
    const audited: Audited[] = [];
    for (const log of logs) {
      const known = remembered?.get(log);
      audited.push(...(await this.auditLog(log, null, known === undefined ? [] : [known])));
    }
    // What is named and not there was taken away as a whole.
    const named = new Set([...headsIn(heads).map(({ head }) => head.log), ...(remembered?.keys() ?? [])]);
    for (const log of named) {
      if (!logs.includes(log))
        audited.push(missing(log, headsIn(heads).findLast(({ head }) => head.log === log)?.head));
    }
    audited.push(this.auditHeads(heads, noted, remembered));
    return this.report(audited, { heads: heads.head });
  }

  // What is there -----------------------------------------------------------------------------------------------------

  private async connect(): Promise<Slipway | null> {
    try {
      return await Slipway.connect(this.context.env);
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      this.context.note(`slipway: Temporal is not asked: ${error.message}`);
      return null;
    }
  }

  private async auditNamed(name: string, noted: NotedHead | null): Promise<readonly Audited[]> {
    const file = await readIfFile(path.resolve(this.context.cwd, name));
    if (file !== null) return [await this.auditFile(name, file, noted)];
    const log = await this.logOf(name);
    if (log !== null) {
      const audited = await this.auditLog(log, noted);
      // Where the rollout's own run was lost, its recovery tells the rest.
      const recovery = log.startsWith('rollout/') ? await this.auditLog(log.replace(/^rollout/, 'recover'), null) : [];
      if (audited.length > 0) return [...audited, ...recovery];
      const gone = headsIn(await this.readHeads()).findLast(({ head }) => head.log === log);
      if (gone !== undefined) return [missing(log, gone.head), ...recovery];
    }
    throw usage(
      `there is no trail of ${name} in ${this.storage.place}, and no such file`,
      'see `slipway list`; SLIPWAY_DATA_DIR or SLIPWAY_EVIDENCE_STORE must be those of the workers',
    );
  }

  private async auditFile(name: string, bytes: Uint8Array, noted: NotedHead | null): Promise<Audited> {
    const reading = readTrail(bytes);
    const { log } = reading;
    const anchors = [...anchorOf(noted, log)];
    if (log !== null && log !== HEADS_LOG) {
      // Which run it is of is not in the file: one of the heads of its log must fit.
      const known = headsIn(await this.readHeads()).filter(({ head }) => head.log === log);
      const fitting = known.find(({ head }) => reading.entries.some(({ hash }) => hash === head.hash)) ?? known.at(-1);
      if (fitting !== undefined) anchors.push({ from: 'the log of heads', head: fitting.head, final: endsOnce(log) });
    }
    return {
      name,
      run: null,
      reading,
      bytes,
      continues: null,
      superseded: false,
      finding: auditTrail(reading, anchors),
    };
  }

  private async auditLog(
    log: string,
    noted: NotedHead | null,
    known?: readonly RunHead[],
  ): Promise<readonly Audited[]> {
    const stored = await this.storage.trails.read(log);
    if (stored.length === 0) return [];
    const heads = log === HEADS_LOG ? [] : headsIn(await this.readHeads()).filter(({ head }) => head.log === log);
    const asked = known ?? (await this.askTemporal(log));
    const superseded = new Set(stored.flatMap(({ continues }) => (continues === null ? [] : [continues.run])));
    return stored.map(({ run, bytes, continues }) => {
      const reading = readTrail(bytes);
      const anchors = [
        ...(superseded.has(run) ? [] : anchorOf(noted, log)),
        ...heads
          .filter((each) => each.run === run)
          .map(({ head }) => ({ from: 'the log of heads', head, final: endsOnce(log) })),
        ...asked.filter((each) => each.run === run).map(({ head, final }) => ({ from: 'Temporal', head, final })),
      ];
      const found = auditTrail(reading, anchors);
      const over = superseded.has(run) && found.level === 'cannot-tell';
      const finding: AuditFinding = over
        ? { level: 'whole', problems: [], vouched: ['the run that it was reset to'] }
        : found;
      return { name: log, run, reading, bytes, continues, superseded: superseded.has(run), finding };
    });
  }

  private auditHeads(
    reading: TrailReading,
    noted: NotedHead | null,
    remembered: ReadonlyMap<string, RunHead> | null,
  ): Audited {
    const anchors = [...anchorOf(noted, HEADS_LOG)];
    const listed = headsIn(reading);
    const over = [...(remembered ?? [])].filter(([, { final }]) => final);
    const lacking = over.filter(([, { head }]) => !listed.some((each) => each.head.hash === head.hash));
    // Every trail that Temporal remembers to have ended is listed: then the list was not cut since the oldest of them.
    if (over.length > 0 && lacking.length === 0 && reading.head !== null)
      anchors.push({ from: `Temporal, which remembers ${over.length} that ended`, head: reading.head, final: false });
    const found = reading.head === null && reading.damages.length === 0 ? EMPTY : auditTrail(reading, anchors);
    const missed = lacking.map(([log]) => `${log} has ended, and its head is not listed (Temporal)`);
    const finding: AuditFinding =
      missed.length === 0 ? found : { ...found, level: 'damaged', problems: [...found.problems, ...missed] };
    return {
      name: HEADS_LOG,
      run: null,
      reading,
      bytes: new Uint8Array(),
      continues: null,
      superseded: false,
      finding,
    };
  }

  private readHeads(): Promise<TrailReading> {
    this.heads ??= this.storage.trails
      .read(HEADS_LOG)
      .then(([stored]) => (stored === undefined ? NO_HEADS : readTrail(stored.bytes)));
    return this.heads;
  }

  private async askTemporal(log: string): Promise<readonly RunHead[]> {
    const slipway = await this.slipway;
    if (slipway === null || !/^(rollout|recover)\//.test(log)) return [];
    try {
      const found = await slipway.trailHead(log);
      return found === null ? [] : [found];
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      this.context.note(`slipway: Temporal does not vouch for ${log}: ${error.message}`);
      return [];
    }
  }

  /** Heads by log of the rollouts that Temporal remembers; null where it can't be asked. */
  private async remembered(): Promise<ReadonlyMap<string, RunHead> | null> {
    const slipway = await this.slipway;
    if (slipway === null) return null;
    const heads = new Map<string, RunHead>();
    for (const { rolloutId, service, environment } of await slipway.list('', REMEMBERED)) {
      const log = `rollout/${environment}/${service}/${rolloutId}`;
      const [found] = await this.askTemporal(log);
      if (found !== undefined) heads.set(log, found);
    }
    return heads;
  }

  /** The log that a name means: the rollout's, by its id; null where nothing knows it. */
  private async logOf(name: string): Promise<string | null> {
    const parts = name.split('/');
    if (parts.some((part) => !/^[A-Za-z0-9_][\w.-]*$/.test(part))) return null;
    if (parts.length > 1 || name === HEADS_LOG) return parts.length === 3 ? `rollout/${name}` : name;
    const [ended] = await this.storage.archive.find(name);
    if (ended !== undefined) return `rollout/${ended.lane.environment}/${ended.lane.service}/${name}`;
    const listed = headsIn(await this.readHeads()).map(({ head }) => head.log);
    const logs = [...new Set([...(await this.storage.trails.logs()), ...listed])];
    return logs.toSorted().findLast((log) => log.split('/').at(-1) === name) ?? null;
  }

  // What is said ------------------------------------------------------------------------------------------------------

  private report(audited: readonly Audited[], more: object): CommandResult {
    const { context } = this;
    if (!context.json) {
      const paint = painter(context.color);
      for (const each of audited) {
        const { finding, reading } = each;
        const color = COLOR[finding.level];
        const vouched = finding.vouched.length === 0 ? '' : ` (${finding.vouched.join('; ')})`;
        context.out(`${paint(color, WORD[finding.level])}  ${titleOf(each)}: ${stateOf(reading)}${vouched}`);
        for (const problem of finding.problems) context.out(`  ${plain(problem)}`);
      }
      const { head } = audited.find(({ name }) => name === HEADS_LOG)?.reading ?? { head: null };
      if (head !== null)
        context.note(`keep this elsewhere, to have it verified later: --head ${head.hash}:${head.size}`);
    }
    return done({ trails: audited.map(documentOf), ...more }, exitCodeOf(audited, EXIT.cannotTell));
  }

  private note({ finding }: Audited): void {
    for (const problem of finding.problems) this.context.note(`slipway: ${WORD[finding.level]}: ${plain(problem)}`);
  }
}

interface NotedHead {
  readonly size: number;
  readonly hash: string;
}

interface RunHead {
  readonly run: string;
  readonly head: TrailHead;
  readonly final: boolean;
}

const COLOR = { whole: 'green', 'cannot-tell': 'yellow', damaged: 'red' } as const;
const WORD: Readonly<Record<Level, string>> = { whole: 'whole', 'cannot-tell': 'cannot tell', damaged: 'DAMAGED' };
const NO_HEADS: TrailReading = { log: null, entries: [], head: null, closed: false, damages: [] };
const EMPTY: AuditFinding = {
  level: 'cannot-tell',
  problems: ['no head is kept: no trail has been closed yet, or all of them were taken away'],
  vouched: [],
};

/** Whether nothing follows a head of this log: a server's log goes on after the server was stopped. */
function endsOnce(log: string): boolean {
  return /^(rollout|recover)\//.test(log);
}

function parseHead(text: string): NotedHead {
  const match = /^(sha256:[0-9a-f]{64}):(\d{1,9})$/.exec(text);
  if (match === null)
    throw usage(`--head "${text}" is no head`, 'write it as it was printed: sha256:<64 hex digits>:<entries>');
  return { hash: match[1] ?? '', size: Number(match[2]) };
}

function anchorOf(noted: NotedHead | null, log: string | null): readonly Anchor[] {
  if (noted === null) return [];
  return [{ from: '--head', head: { log: log ?? '', ...noted } as TrailHead, final: false }];
}

/** The heads that a log of heads tells of. */
function headsIn({ entries }: TrailReading): readonly { readonly run: string; readonly head: TrailHead }[] {
  return entries.flatMap(({ type, data }: TrailEntry) => {
    const { log, size, hash, run } = data;
    if (type !== 'head' || typeof log !== 'string' || typeof size !== 'number') return [];
    return [{ run: String(run), head: { log, size, hash: String(hash) as TrailHead['hash'] } }];
  });
}

function missing(name: string, head: TrailHead | undefined): Audited {
  const size = head === undefined ? '' : ` of ${head.size} entries`;
  const finding: AuditFinding = { level: 'damaged', problems: [`the whole trail${size} is gone`], vouched: [] };
  return { name, run: null, reading: NO_HEADS, bytes: new Uint8Array(), continues: null, superseded: false, finding };
}

/** The account that counts: that of the run that nobody has reset; of several, the one that was written last. */
function currentOf(audited: readonly Audited[]): Audited {
  const [first] = audited;
  if (first === undefined) throw new TypeError('nothing was audited');
  const lastAt = ({ reading }: Audited): string => reading.entries.at(-1)?.at ?? '';
  return audited
    .filter(({ name, superseded }) => name === first.name && !superseded)
    .reduce((best, each) => (lastAt(each) > lastAt(best) ? each : best), first);
}

function exitCodeOf(audited: readonly Audited[], cannotTell: number): number {
  const levels = audited.map(({ finding }) => finding.level);
  if (levels.includes('damaged')) return EXIT.damaged;
  return levels.includes('cannot-tell') ? cannotTell : EXIT.completed;
}

function titleOf({ name, run, continues, superseded }: Audited): string {
  const reset = continues === null ? '' : `, reset: it continues run ${continues.run} from entry ${continues.seq}`;
  const own = run === null || (continues === null && !superseded) ? '' : ` (run ${run}${reset})`;
  return `${plain(name)}${own}`;
}

function stateOf({ entries, head, closed }: TrailReading): string {
  if (head === null) return 'no entry';
  const state = closed ? 'closed' : endsOnce(head.log) ? 'not closed' : 'open';
  return `${entries.length} ${entries.length === 1 ? 'entry' : 'entries'}, ${state}`;
}

/** An account as `--json` gives it. */
function documentOf({ name, run, reading, continues, superseded, finding }: Audited): object {
  const { log, head, closed, damages } = reading;
  return {
    name,
    run,
    log,
    level: finding.level,
    closed,
    head,
    problems: finding.problems,
    vouched: finding.vouched,
    damages,
    continues,
    superseded,
  };
}

/** The bytes of a file; null where there is none of that name. */
async function readIfFile(file: string): Promise<Uint8Array | null> {
  try {
    return await readFile(file);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EISDIR') return null;
    throw usage(
      `${file} can't be read: ${error instanceof Error ? error.message : String(error)}`,
      'name a readable file',
    );
  }
}
