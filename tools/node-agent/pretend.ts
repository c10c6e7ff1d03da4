import { RUNNING, tagOf, type ContainerCondition, type Pod, type PodRuntime } from './pod.js';

const SLOW_MS = 3000;

/**
 * Runs nothing and reports every pod as running and ready at once, unless the tag of an image begins with
 * `never-ready` (runs, is never ready), `slow` (is ready after 3 s), `crash` (waits in CrashLoopBackOff) or
 * `missing` (waits in ImagePullBackOff).
 */
export const pretend: PodRuntime = {
  start(pod, _ip, report) {
    const conditions = pod.spec.containers.map(({ image, name }) => conditionOf(tagOf(image), name, pod));
    report(conditions);
    const isSlow = pod.spec.containers.some(({ image }) => tagOf(image).startsWith('slow'));
    const timer = isSlow ? setTimeout(() => report(pod.spec.containers.map(() => RUNNING)), SLOW_MS) : undefined;
    return {
      pid: undefined,
      stop: async () => clearTimeout(timer),
    };
  },
};

function conditionOf(tag: string, container: string, pod: Pod): ContainerCondition {
  if (tag.startsWith('never-ready') || tag.startsWith('slow')) return { ready: false, restarts: 0 };
  if (tag.startsWith('crash')) {
    const message = `back-off 10s restarting failed container=${container} pod=${pod.metadata.name}`;
    return { ready: false, restarts: 1, waiting: { reason: 'CrashLoopBackOff', message }, lastExitCode: 1 };
  }
  if (tag.startsWith('missing')) {
    const message = `Back-off pulling image of container ${container}: not found`;
    return { ready: false, restarts: 0, waiting: { reason: 'ImagePullBackOff', message } };
  }
  return RUNNING;
}
