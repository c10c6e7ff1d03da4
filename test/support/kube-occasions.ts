import type { Fault, Occasion } from './faulty-server.js';

const CONFLICT: Fault = { kind: 'answer', status: 409, reason: 'Conflict' };
const TIMEOUT: Fault = { kind: 'answer', status: 504, reason: 'Timeout' };

/** How an API server fails a write, try by try. */
export const KUBE_FAULTS = {
  conflicts: [CONFLICT, CONFLICT, CONFLICT],
  /** More than the tries that one attempt of an effect has. */
  storm: Array.from({ length: 22 }, () => CONFLICT),
  throttled: [{ kind: 'answer', status: 429, reason: 'TooManyRequests', retryAfterSeconds: 1 }],
  failed: [{ kind: 'answer', status: 500, reason: 'InternalError' }],
  late: [TIMEOUT],
  /** It says that it took too long, and has done it. */
  lateDone: [{ ...TIMEOUT, after: true }],
  lost: [{ kind: 'cut', after: true }],
  cut: [{ kind: 'cut' }],
  slow: [{ kind: 'slow', ms: 1500 }],
} as const satisfies Readonly<Record<string, readonly Fault[]>>;

/** A write of an effect, by what it is for. */
function write(method: string, resource: string, effect: string): Occasion {
  return (request) =>
    request.method === method && request.path.includes(`/${resource}`) && request.body.includes(effect);
}

/** In which the API server may go away on the way forward, in the order in which they come. */
export const FORWARD: Readonly<Record<string, Occasion>> = {
  claiming: write('POST', 'configmaps', '/claim/'),
  opening: write('POST', 'configmaps', '/open-rollout/'),
  starting: write('POST', 'deployments', '/stage-1/start-arm/'),
  'getting-ready': ({ method, path }) => method === 'GET' && path.endsWith('/endpointslices'),
  shifting: write('PUT', 'httproutes', '/stage-1/set-weights/'),
  scaling: write('PUT', 'deployments', '/promote/start-arm/'),
  promoting: write('PUT', 'httproutes', '/promote/set-weights/'),
  copying: write('PUT', 'deployments', '/settle/set-stable-template/'),
  returning: write('PUT', 'httproutes', '/settle/set-weights/'),
  clearing: write('DELETE', 'deployments/hello-canary', ''),
  closing: write('PUT', 'configmaps', '/settle/close-rollout/'),
  dissolving: write('DELETE', 'configmaps', ''),
};

/** And on the way back. */
export const BACK: Readonly<Record<string, Occasion>> = {
  cutting: write('PUT', 'httproutes', '/rollback/cut-traffic/'),
  // The second of two: the first one is that of the beginning.
  fencing: nthFence(2),
  retreating: write('PUT', 'httproutes', '/rollback/set-weights/'),
  clearing: write('DELETE', 'deployments/hello-canary', ''),
  closing: write('PUT', 'configmaps', '/rollback/close-rollout/'),
  dissolving: write('DELETE', 'configmaps', ''),
};

/** The n-th time that a fence is raised: the rollout's anchor is the first object of each. */
function nthFence(n: number): Occasion {
  const fences = new Set<string>();
  return ({ method, path, body }) => {
    if (method !== 'PUT' || !path.includes('-rollout-')) return false;
    fences.add(/"slipway.dev\/fence":"([^"]*)"/.exec(body)?.[1] ?? '');
    return fences.size === n;
  };
}
