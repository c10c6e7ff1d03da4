/**
 * A worker that tells a fault proxy what it is doing: every request to the platform says which worker, activity and
 * attempt sends it, and every effect is announced before it starts and after it has returned. The proxy may keep such a
 * call unanswered, and kill or freeze this process meanwhile: so a test ends or stops it at an exact moment.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import type { Context } from '@temporalio/activity';
import type { ActivityInboundCallsInterceptor, WorkerInterceptors } from '@temporalio/worker';
import { BUNDLE_PATH } from '../../worker/cli/worker.js';
import { loadWorkerConfig } from '../../worker/config.js';
import { runWorker } from '../../worker/worker.js';
import { NOTICE_PATH, SENDER_HEADER } from './fault-proxy.js';
import type { Notice, Sender } from './fault-proxy.js';

/** Effects: a patient worker's know no time limit, and don't hear that they are cancelled. */
const EFFECTS = [
  'claimLane',
  'openRollout',
  'recordConfiguration',
  'raiseFence',
  'startArm',
  'setWeights',
  'cutTraffic',
  'setStableTemplate',
  'removeArm',
  'removeStable',
  'closeRollout',
];

/** Activities that are announced: those that write, and those that a rollback or the end of a run waits for. */
const ANNOUNCED = ['inspectRun', 'recordRollout', 'watch', ...EFFECTS];

/** What activities that write are called with, and what they give. */
interface Call {
  readonly permit?: { readonly key?: string };
  readonly cut?: { readonly key?: string } | null;
}
interface Result {
  readonly kind?: string;
  readonly cut?: { readonly kind?: string };
}

const senders = new AsyncLocalStorage<Sender>();

/** Every request that an activity sends says whose it is, whichever client sends it: all of them are undici. */
function tagRequests(): void {
  subscribe('undici:request:create', (message) => {
    const sender = senders.getStore();
    const { request } = message as { readonly request: { addHeader(name: string, value: string): unknown } };
    if (sender !== undefined) request.addHeader(SENDER_HEADER, JSON.stringify(sender));
  });
}

/** A patient worker's effects know no time limit, as if their requests had left it just before it was stopped. */
function waitForEver(): void {
  const limited = AbortSignal.timeout.bind(AbortSignal);
  AbortSignal.timeout = (ms) =>
    EFFECTS.includes(senders.getStore()?.activity ?? '') ? new AbortController().signal : limited(ms);
}

function interceptorsFor(proxy: string, patient: boolean): WorkerInterceptors {
  const notify = async (sender: Sender, notice: Notice): Promise<void> => {
    const headers = { [SENDER_HEADER]: JSON.stringify(sender), 'content-type': 'application/json' };
    await fetch(`${proxy}${NOTICE_PATH}`, { method: 'POST', headers, body: JSON.stringify(notice) });
  };
  const inbound = (context: Context): ActivityInboundCallsInterceptor => ({
    async execute(input, next) {
      const { info } = context;
      const call = input.args[0] as Call | undefined;
      const sender = {
        pid: process.pid,
        activity: info.activityType,
        // Ids of activities are counted per run.
        attempt: `${info.workflowExecution?.runId}/${info.activityId}/${info.attempt}`,
        key: call?.permit?.key ?? call?.cut?.key ?? null,
      };
      if (!ANNOUNCED.includes(sender.activity)) return senders.run(sender, () => next(input));
      // Nor does a patient worker hear that its time is over: so nothing but the fence can stop it.
      if (patient && EFFECTS.includes(sender.activity))
        Object.defineProperty(context, 'cancellationSignal', { value: new AbortController().signal });
      await notify(sender, { moment: 'starting', result: null });
      try {
        const result = await senders.run(sender, () => next(input));
        const { kind, cut } = result as Result;
        await notify(sender, { moment: 'returned', result: cut?.kind ?? kind ?? 'a value' });
        return result;
      } catch (error) {
        await notify(sender, { moment: 'returned', result: `thrown: ${String(error)}` });
        throw error;
      }
    },
  });
  return { activity: [(context) => ({ inbound: inbound(context) })] };
}

const proxy = process.env['SLIPWAY_TEST_PROXY'];
if (proxy === undefined) throw new Error('SLIPWAY_TEST_PROXY is not set');
const patient = process.env['SLIPWAY_TEST_PATIENT'] === 'true';
tagRequests();
if (patient) waitForEver();
await runWorker({
  config: loadWorkerConfig(process.env),
  env: process.env,
  bundlePath: BUNDLE_PATH,
  interceptors: interceptorsFor(proxy, patient),
});
