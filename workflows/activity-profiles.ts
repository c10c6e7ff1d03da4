/** Which activity may take how long, and where it runs. One place, so that the numbers can be read side by side. */
import { proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { Activities } from '../activities/contract.js';
import { waitsQueue } from './messages.js';

/**
 * An effect whose worker dies is tried again 5 s later (durability-notes.md, section 3): start-to-close 5 s, retries
 * from 200 ms. It is bounded by time, not by attempts: a frozen worker swallows attempts without a single real try.
 */
const EFFECT = {
  startToCloseTimeout: '5s',
  retry: { initialInterval: '200ms', backoffCoefficient: 1.5, maximumInterval: '3s' },
  cancellationType: 'TRY_CANCEL',
} as const;

const WAIT = {
  heartbeatTimeout: '5s',
  cancellationType: 'TRY_CANCEL',
  retry: { initialInterval: '500ms', backoffCoefficient: 1 },
} as const;

/**
 * Effects on the way forward, and what is read between them: given up after a while, because going back is possible, and
 * not before, because it costs a rollout that may be healthy.
 */
export function forwardEffects(): Activities {
  return proxyActivities<Activities>({ ...EFFECT, scheduleToCloseTimeout: '10m' });
}

/** Effects on the way back: tried for as long as it takes. */
export function rollbackEffects(): Activities {
  return proxyActivities<Activities>(EFFECT);
}

/**
 * Reads before anything is touched: the caller waits for the answer, so an unreachable platform is said within about
 * 15 s. Bounded by attempts, not by time, so that a time without workers is no answer.
 */
export function reads(): Activities {
  return proxyActivities<Activities>({ ...EFFECT, retry: { ...EFFECT.retry, maximumAttempts: 10 } });
}

/** Steps before anything is touched that must be done: tried for as long as it takes. */
export function steps(): Activities {
  return proxyActivities<Activities>({
    taskQueue: waitsQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '60s',
    cancellationType: 'TRY_CANCEL',
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '20s' },
  });
}

/**
 * Looks at anchors, runs and registries: tried for as long as it takes, and soon again where a worker dies of it, for a
 * rollback or a person may wait for them.
 */
export function looks(): Activities {
  return proxyActivities<Activities>({
    taskQueue: waitsQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '10s',
    cancellationType: 'TRY_CANCEL',
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '10s' },
  });
}

/** Waits of up to `maxMs`, on slots of their own. */
export function waits(maxMs: number): Activities {
  return proxyActivities<Activities>({
    ...WAIT,
    taskQueue: waitsQueue(workflowInfo().taskQueue),
    startToCloseTimeout: maxMs + 60_000,
  });
}

const FOLLOWER = {
  startToCloseTimeout: '2m',
  heartbeatTimeout: '5s',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '60s' },
} as const;

/** Messages that must not be given up, nor overtake one another: a cancelled one has ended before the next begins. */
export function followers(): Activities {
  return proxyActivities<Activities>({ ...FOLLOWER, taskQueue: waitsQueue(workflowInfo().taskQueue) });
}

/** The message that a rollout is over: nothing comes after it, and after a week nobody needs it any more. */
export function lastFollowers(): Activities {
  return proxyActivities<Activities>({
    ...FOLLOWER,
    taskQueue: waitsQueue(workflowInfo().taskQueue),
    scheduleToCloseTimeout: '7d',
  });
}

/** Things that may fail without stopping a rollout: a model's opinion, messages, records. */
export function courtesies(): Activities {
  return proxyActivities<Activities>({
    taskQueue: waitsQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '15s',
    scheduleToCloseTimeout: '3m',
    cancellationType: 'TRY_CANCEL',
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '20s' },
  });
}
