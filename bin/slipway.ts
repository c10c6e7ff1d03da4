#!/usr/bin/env node
/** The command's entry: says what commands there are, and loads a command's code only when it is called. */
import { Command, CommanderError, Option } from 'commander';
import type { CliContext, CommandResult } from '../client/cli/context.js';
import { SLIPWAY_VERSION } from '../domain/version.js';

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever read the output (`| head`) has seen enough: no failure.
  if (error.code === 'EPIPE') return;
  process.stderr.write(`slipway: standard output can’t be written: ${error.message}\n`);
  process.exit(70);
});

/** What Commander has said of wrong usage, for `--json`. */
let said = '';

const program = new Command('slipway')
  .description(
    'Ships a release of a service through risk assessment, approval, canary stages and statistics to promoted or rolled back.',
  )
  .version(SLIPWAY_VERSION)
  .configureOutput({
    outputError(text, write) {
      said = text.replace(/^error: /, '').trim();
      write(`slipway: ${said}\n`);
    },
  })
  .exitOverride();

type Work = (context: CliContext) => Promise<CommandResult>;

/** Runs a command with the process as its outside. */
async function perform(
  options: { readonly json?: boolean },
  work: Work,
  { waits = false }: { readonly waits?: boolean } = {},
): Promise<void> {
  const { runCommand } = await import('../client/cli/run.js');
  const abort = new AbortController();
  process.once('SIGINT', () => abort.abort());
  // What ends a cancelled job elsewhere than on GitHub. Commands that do not wait end at once by it, as programs do.
  if (waits) process.once('SIGTERM', () => abort.abort());
  const terminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb';
  const context: CliContext = {
    env: process.env,
    cwd: process.cwd(),
    json: options.json === true,
    terminal,
    size: () => ({ columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }),
    color: terminal && !process.env['NO_COLOR'],
    // Not opened before a command asks for it.
    get input() {
      return process.stdin.setEncoding('utf8');
    },
    write: async (text) => new Promise((resolve) => process.stdout.write(text, (error) => resolve(error == null))),
    out: (text) => process.stdout.write(`${text}\n`),
    note: (text) => process.stderr.write(`${text}\n`),
    signal: abort.signal,
  };
  process.exitCode = await runCommand(context, async () => {
    await refuseEmpty(options);
    return work(context);
  });
}

/** An empty value is what a shell makes of a variable that is not set: never what was meant, least of all as a key. */
async function refuseEmpty(options: object): Promise<void> {
  const { usage } = await import('../client/cli/context.js');
  for (const [name, value] of Object.entries(options)) {
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if ([value].flat().includes('')) throw usage(`${flag} has an empty value`, 'give it a value, or leave it out');
  }
}

function command(usage: string, description: string, example: string): Command {
  return program
    .command(usage)
    .description(description)
    .option('--json', 'print one JSON document on standard output, and nothing else')
    .addHelpText('after', `\nExample:\n  ${example.replaceAll('\n', '\n  ')}\n`);
}

const collect = (value: string, list: readonly string[] = []): readonly string[] => [...list, value];

function withFile(target: Command): Command {
  return target
    .option('--file <path>', 'the service’s file (default: slipway.yaml)')
    .option('--env <name>', 'environment (default: the only one in the file)');
}

function withActor(target: Command): Command {
  return target
    .option('--as <name>', 'who you are (default: SLIPWAY_ACTOR, Git’s user.email, your login)')
    .option('--group <name>', 'a group you are in; may be repeated', collect);
}

function withRelease(target: Command): Command {
  return withFile(target)
    .option('--tag <tag>', 'tag for all images of the file')
    .option('--image <container=reference>', 'image of one container; may be repeated', collect)
    .option('--set <NAME=VALUE>', 'environment variable of this release; may be repeated', collect)
    .option(
      '--use-config-map <name=new>',
      'another ConfigMap for the Deployment to refer to (app-config=app-config-9e1b); may be repeated',
      collect,
    )
    .option('--use-secret <name=new>', 'the same of a Secret, by name; may be repeated', collect)
    .option(
      '--base <commit>',
      'what changed is counted from here (default: the merge base with upstream, else the parent)',
    )
    .option('--no-git', 'do not look for the change in Git')
    .option('--author <email>', 'author of the change (default: from Git)')
    .option('--message <text>', 'message of the change (default: from Git)');
}

function withServer(target: Command): Command {
  return target.option(
    '--direct',
    'speak to Temporal itself, not through the server that SLIPWAY_SERVER or a login names',
  );
}

function withReports(target: Command): Command {
  return target
    .option('--summary <file>', 'add a Markdown page with the numbers (GitHub: "$GITHUB_STEP_SUMMARY")')
    .option('--outputs <file>', 'add values for later steps (GitHub: "$GITHUB_OUTPUT")')
    .option('--dotenv <file>', 'add the same as SLIPWAY_NAME=value lines (GitLab: a dotenv report)');
}

const onCancel = (): Option =>
  new Option('--on-cancel <what>', 'what Ctrl-C or a cancelled job does to the rollout (default: leave)').choices([
    'leave',
    'abort',
  ]);

function withWait(target: Command): Command {
  return withReports(target)
    .addOption(onCancel())
    .option(
      '--wait [until]',
      'stay until the rollout is over; --wait=held: return (exit code 4) as soon as a person is needed',
    )
    .option('--wait-timeout <duration>', 'with --wait: stop waiting after so long (exit code 4); the rollout goes on');
}

withWait(
  withActor(
    withServer(
      withRelease(command('deploy [service]', 'ask for a rollout', 'slipway deploy hello --env local --tag v2 --wait')),
    ),
  ),
)
  .option(
    '--key <text>',
    'idempotency key: the same key and release is the same rollout, for 30 days (default: a new one)',
  )
  .option('--hotfix', 'go ahead of the queue and of a rollout that is still before its canary')
  .addHelpText(
    'after',
    '\nExit codes of --wait: 0 completed, 1 rolled back, 2 invalid input, 3 rejected, aborted or superseded,\n4 held or timed out, 5 lane busy, 6 rollback failed, 69 a needed service can’t be reached, 70 internal error.\n',
  )
  .action((service, options) =>
    perform(options, async (context) => (await import('../client/cli/deploy.js')).deploy(context, service, options), {
      waits: true,
    }),
  );

withRelease(
  command(
    'plan [service]',
    'say what a deploy would do; nothing is touched',
    'slipway plan hello --env local --tag v2',
  ),
).action((service, options) =>
  perform(options, async (context) => (await import('../worker/cli/plan.js')).plan(context, service, options)),
);

withServer(
  command(
    'status <rollout>',
    'show one rollout: phase, stages, verdicts, what it waits for, its story',
    'slipway status 3f2a9c1e5b7d8f00',
  ),
).action((rollout, options) =>
  perform(options, async (context) =>
    (await import('../client/cli/verbs.js')).status(context, rollout, options, async (rolloutId) =>
      (await import('../worker/cli/recorded.js')).recordedView(context, rolloutId),
    ),
  ),
);

withReports(
  withServer(
    command(
      'watch <rollout>',
      'follow a rollout to its end; exit codes as of deploy --wait',
      'slipway watch 3f2a9c1e5b7d8f00',
    ),
  ),
)
  .addOption(onCancel())
  .option('--timeout <duration>', 'stop watching after so long (exit code 4)')
  .option('--until-held', 'stop (exit code 4) as soon as a person is needed')
  .action((rollout, options) =>
    perform(options, async (context) => (await import('../client/cli/verbs.js')).watch(context, rollout, options), {
      waits: true,
    }),
  );

withServer(command('list', 'list rollouts, newest first', 'slipway list --service hello --open'))
  .option('--service <name>', 'only of this service')
  .option('--env <name>', 'only in this environment')
  .addOption(
    new Option('--outcome <outcome>', 'only with this outcome').choices([
      'completed',
      'rolled-back',
      'rejected',
      'aborted',
      'superseded',
      'rollback-failed',
    ]),
  )
  .option('--open', 'only those in flight')
  .option('--waiting', 'only those that wait for something')
  .option('--limit <n>', 'at most so many (default: 20)')
  .action((options) =>
    perform(options, async (context) => (await import('../client/cli/overview.js')).list(context, options)),
  );

const VERB_TEXTS = [
  [
    'approve',
    'approve the open gate, bound to the plan as it is now',
    'slipway approve 3f2a9c1e5b7d8f00 --reason "read the diff"',
  ],
  [
    'reject',
    'reject the open gate: the rollout ends, or goes back',
    'slipway reject 3f2a9c1e5b7d8f00 --reason "not on a Friday"',
  ],
  [
    'pause',
    'no advance until resumed; the canary is still guarded',
    'slipway pause 3f2a9c1e5b7d8f00 --reason "looking at a graph"',
  ],
  ['resume', 'end a pause; over a drift: write over what was found', 'slipway resume 3f2a9c1e5b7d8f00'],
  [
    'promote',
    'skip the rest of this stage; over a HOLD it needs a reason',
    'slipway promote 3f2a9c1e5b7d8f00 --reason "too little traffic at night"',
  ],
  [
    'break-glass',
    'open a gate without those who are asked: needs the role breakglass, pages people, is marked for ever',
    'slipway break-glass 3f2a9c1e5b7d8f00 --reason "OPS-311: the login is down, nobody else is awake"',
  ],
  ['abort', 'roll back and end, or leave the queue', 'slipway abort 3f2a9c1e5b7d8f00 --reason "wrong image"'],
] as const;
for (const [verb, description, example] of VERB_TEXTS) {
  const target = withActor(withServer(command(`${verb} <rollout>`, description, example)))
    .option('--reason <text>', 'why; kept in the decision record')
    .option('--id <text>', 'id of this decision: said twice, it counts once (default: a new one)');
  if (verb === 'approve' || verb === 'reject' || verb === 'break-glass')
    target
      .option('--gate <name>', 'the gate (default: the open one)')
      .option('--plan <digest>', 'digest of the plan that you looked at (default: the current one)');
  if (verb === 'promote')
    target.option('--full', 'skip all stages that are left; gates among them are asked for as ever');
  target.action((rollout, options) =>
    perform(options, async (context) =>
      (await import('../client/cli/verbs.js')).decide(context, verb, rollout, options),
    ),
  );
}

withWait(
  withActor(
    withServer(
      command(
        'retry <rollout>',
        'a new rollout of the same release under the same policy, or under today’s where the server keeps policies',
        'slipway retry 3f2a9c1e5b7d8f00 --wait',
      ),
    ),
  ),
)
  .option('--key <text>', 'idempotency key (default: a new one)')
  .action((rollout, options) =>
    perform(options, async (context) => (await import('../client/cli/verbs.js')).retry(context, rollout, options), {
      waits: true,
    }),
  );

command(
  'login',
  'keep a token of a Slipway server; from then on commands go through that server',
  'slipway login --server https://slipway.example.com < token.txt',
)
  .option('--server <url>', 'the server (default: SLIPWAY_SERVER)')
  .addHelpText(
    'after',
    '\nThe token is read from standard input: a static one, or the one that the server’s page gives (“Command line”). In CI nothing has to be kept: SLIPWAY_SERVER and SLIPWAY_TOKEN are enough,\nand in a job of GitHub Actions with `permissions: id-token: write` SLIPWAY_SERVER alone.\n',
  )
  .action((options) =>
    perform(options, async (context) => (await import('../client/cli/login.js')).login(context, options)),
  );

command('logout', 'forget the token of a server', 'slipway logout')
  .option('--server <url>', 'the server (default: the one that was logged in to last)')
  .action((options) =>
    perform(options, async (context) => (await import('../client/cli/login.js')).logout(context, options)),
  );

command('whoami', 'who the server takes you for, and what you may do there', 'slipway whoami')
  .option('--server <url>', 'the server (default: SLIPWAY_SERVER, else the one that was logged in to last)')
  .action((options) =>
    perform(options, async (context) => (await import('../client/cli/login.js')).whoami(context, options)),
  );

withFile(
  command('lint', 'check slipway.yaml; asks and touches nothing', 'slipway lint --file services/hello/slipway.yaml'),
).action((options) =>
  perform(options, async (context) => (await import('../client/cli/lint.js')).lint(context, options)),
);

command(
  'stats <test>',
  'run a statistical test on samples from standard input; tests: mann-whitney',
  `slipway stats mann-whitney --jsonl < samples.jsonl\necho '{"id":"a","x":[3,4],"y":[1,2],"alternative":"greater"}' | slipway stats mann-whitney --jsonl`,
)
  .addOption(
    new Option(
      '--jsonl',
      'one {id?, x, y, alternative, method?} a line in; one {id?, u1, u2, p, method, cles, cliffsDelta, hodgesLehmann} or {id?, error} a line out',
    ).conflicts('json'),
  )
  .addHelpText(
    'after',
    '\nalternative: two-sided (default), less, greater (x tends to be larger than y)\nmethod: auto (default: exact up to 100 values in both samples together), exact, asymptotic\nExit codes: 0 every line was answered, errors included; 2 wrong usage.\n',
  )
  .action((test: string, options) =>
    perform(options, async (context) => {
      const { usage } = await import('../client/cli/context.js');
      if (test !== 'mann-whitney') throw usage(`there is no test "${test}"`, 'the test that there is: mann-whitney');
      if (options.jsonl !== true) throw usage('it is not said how samples come', 'add --jsonl: one test a line');
      return (await import('../client/cli/stats.js')).statsMannWhitney(context);
    }),
  );

command(
  'judge [file]',
  'judge a recorded canary again and say why, with nothing touched: a decision record, stored evidence, or raw series',
  'slipway judge record.json --evidence /var/lib/slipway/evidence\nslipway judge scenario.json --html report.html\nslipway judge record.json --policy slipway.yaml --env production\nslipway judge --backtest records/ --policy candidate.yaml\nslipway judge --jsonl --judge sequential < scenarios.jsonl > verdicts.jsonl',
)
  .option('--html <file>', 'write the report with plots as one page that needs nothing else')
  .option(
    '--policy <file>',
    'judge again under another policy: a slipway.yaml, its analysis part alone, or a canary config of Kayenta (JSON)',
  )
  .option('--env <name>', 'with --policy: environment (default: the only one in the file)')
  .option('--evidence <dir>', 'the folder that holds the samples by digest (default: where the record is)')
  .option('--stage <name>', 'only this stage of a decision record')
  .option('--backtest <dir>', 'judge all records below a folder, and tell how verdicts would have changed')
  .addOption(
    new Option(
      '--jsonl',
      'one scenario a line in (raw counters of both arms); one {id?, verdict, decided_at_s, hold, summary} or {id?, error} a line out',
    ).conflicts('json'),
  )
  .option(
    '--judge <name>',
    'sequential, mann-whitney, threshold or kayenta (default: the recorded one; sequential for scenarios)',
  )
  .addHelpText(
    'after',
    '\nFILE may be - for standard input, or with --evidence a digest (sha256:…). docs/judge.md has the formats.\nExit codes: 0 judged, whatever the verdict (with --jsonl: every line was answered, errors included); 2 invalid input.\n',
  )
  .action((file: string | undefined, options) =>
    perform(options, async (context) => (await import('../client/cli/judge.js')).judgeCommand(context, file, options)),
  );

command(
  'noise <dir>',
  'learn how far apart arms of one version are, from past rollouts that were good; prints what analysis.noiseFloor takes',
  'slipway noise /var/lib/slipway/evidence --service checkout --env production',
)
  .option('--service <name>', 'only rollouts of this service')
  .option('--env <name>', 'only rollouts in this environment')
  .option('--evidence <dir>', 'the folder that holds the samples by digest (default: where the records are)')
  .option('--halves', 'also compare one half of each comparison’s pods with the other')
  .action((dir: string, options) =>
    perform(options, async (context) => (await import('../client/cli/noise.js')).noise(context, dir, options)),
  );

command(
  'audit <action> [names...]',
  'verify, show or export trails: what was asked, decided, set and judged, entry by entry; actions: verify, show, export',
  'slipway audit verify 3f2a9c1e5b7d8f00\nslipway audit verify --all\nslipway audit verify trail.jsonl --head sha256:4b1d…:21\nslipway audit show 3f2a9c1e5b7d8f00\nslipway audit export 3f2a9c1e5b7d8f00 --out trail.jsonl',
)
  .option('--all', 'with verify: all trails that are kept, and the log of their heads')
  .option('--head <hash:size>', 'with verify: how far the trail went, as it was noted elsewhere')
  .option('--out <file>', 'with export: write to this file')
  .addHelpText(
    'after',
    '\nA name is a rollout (its id, or environment/service/id), a log (server/web.2026-11-21, heads), or a file of JSON lines.\nSLIPWAY_DATA_DIR or SLIPWAY_EVIDENCE_STORE say where trails are kept. docs/audit.md has the format.\nExit codes: 0 whole; 1 damaged, each damage is named; 7 nothing wrong was found, but nothing vouches for the end (verify);\n2 wrong usage; 69 the store can’t be reached.\n',
  )
  .action((action: string, names: readonly string[], options) =>
    perform(options, async (context) =>
      (await import('../worker/cli/audit.js')).audit(context, action, names, options),
    ),
  );

command('stuck', 'list runs that need a person, or whose activities keep failing, and why', 'slipway stuck').action(
  (options) => perform(options, async (context) => (await import('../client/cli/overview.js')).stuck(context)),
);

const lane = command(
  'lane <service>',
  'show a lane: what runs, what waits, what blocks it',
  'slipway lane hello --env local\nslipway lane unblock hello --env local --reason "restored by hand"',
);
lane
  .requiredOption('--env <name>', 'environment')
  .option('--reason <text>', 'with unblock: why')
  .argument('[unblocked-service]', 'with unblock: the service')
  .option('--as <name>', 'with unblock: who you are')
  .action((first: string, second: string | undefined, options) =>
    perform(options, async (context) => {
      const { showLane, unblockLane } = await import('../client/cli/overview.js');
      if (first !== 'unblock' || second === undefined) return showLane(context, first, options);
      const { usage } = await import('../client/cli/context.js');
      if (options.reason === undefined)
        throw usage('unblocking a lane needs a reason', 'add --reason "…": it is kept in the lane’s story');
      return unblockLane(context, second, options);
    }),
  );

command(
  'setup',
  'make the Temporal namespace ready: search attributes and the reconcile schedule',
  'slipway setup',
).action((options) => perform(options, async (context) => (await import('../client/cli/overview.js')).setup(context)));

command(
  'worker',
  'run a worker until SIGINT or SIGTERM; settings: .env.example',
  'TEMPORAL_ADDRESS=localhost:7233 slipway worker',
).action((options) => perform(options, async (context) => (await import('../worker/cli/worker.js')).worker(context)));

command(
  'server',
  'run the HTTP API until SIGINT or SIGTERM: start, watch, decide; settings: docs/server.md',
  'slipway server',
).action((options) => perform(options, async (context) => (await import('../worker/cli/server.js')).server(context)));

command(
  'token <new>',
  'make a static token for the server; it is printed once, with what to add to slipway-server.yaml',
  'slipway token new --id grafana --subject grafana --expires 90d',
)
  .option('--id <name>', 'part of the token that can be seen: small letters, digits and - (default: one at random)')
  .requiredOption('--subject <name>', 'who it speaks for, as `roles` names them')
  .option('--person', 'it is a person’s: only people can approve')
  .option('--expires <duration>', 'from now (default: 90d)')
  .action((what: string, options) =>
    perform(options, async (context) => (await import('../client/cli/token.js')).token(context, what, options)),
  );

command(
  'local-gateway',
  'run the embedded platform: a service’s versions as processes behind a weighted gateway',
  'slipway local-gateway --state-dir .slipway/gateway',
)
  .option(
    '--host <address>',
    'address to listen on; whoever reaches the admin port there can run programs here',
    '127.0.0.1',
  )
  .option('--admin-port <port>', 'port of the admin API and /metrics', '7700')
  .option('--data-port <port>', 'port that serves the traffic', '7780')
  .option('--state-dir <dir>', 'folder of its state', '.slipway/gateway')
  .option('--max-replicas <n>', 'processes at one time', '32')
  .option('--progress-deadline <seconds>', 'a version that is not ready by then has failed', '30')
  .action((options) =>
    perform(options, async () => {
      const { CliError, EXIT } = await import('../client/exit-codes.js');
      const { runLocalGateway } = await import('../gateway/cli.js');
      const number = (flag: string, text: string): number => {
        const value = Number(text);
        if (!Number.isInteger(value) || value < 0 || value > 65_535)
          throw new CliError(EXIT.usage, `--${flag} "${text}" is not accepted`, 'write a whole number from 0 to 65535');
        return value;
      };
      const { GatewayStartError } = await import('../gateway/errors.js');
      await runLocalGateway({
        host: options.host,
        adminPort: number('admin-port', options.adminPort),
        dataPort: number('data-port', options.dataPort),
        stateDir: options.stateDir,
        maxReplicas: number('max-replicas', options.maxReplicas),
        progressDeadlineSeconds: number('progress-deadline', options.progressDeadline),
        ...(process.env['PATH'] === undefined ? {} : { path: process.env['PATH'] }),
      }).catch((error: unknown) => {
        if (!(error instanceof GatewayStartError)) throw error;
        throw new CliError(EXIT.usage, error.message, 'for the flags see `slipway local-gateway --help`');
      });
      return { exitCode: EXIT.completed, document: { stopped: true } };
    }),
  );

try {
  await program.parseAsync();
} catch (error) {
  // Commander has said what is wrong; its own codes are 0 for help and 1 for wrong usage.
  const code = error instanceof CommanderError ? error.exitCode : null;
  process.exitCode = code === null ? 70 : code === 0 ? 0 : 2;
  if (code === null) process.stderr.write(`slipway: internal error: ${String(error)}\n`);
  if (code !== null && code !== 0 && said !== '') {
    const remedy = `see \`slipway ${commandName()}--help\``;
    process.stderr.write(`  → ${remedy}\n`);
    if (process.argv.includes('--json'))
      process.stdout.write(`${JSON.stringify({ error: { message: said, remedy, exitCode: 2 } }, null, 2)}\n`);
  }
}

/** The command that was called wrongly, with a blank after it; empty where there is none of that name. */
function commandName(): string {
  const [name] = process.argv.slice(2);
  return program.commands.some((known) => known.name() === name) ? `${name} ` : '';
}
