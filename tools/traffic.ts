import { Agent, request } from 'node:http';

export interface Answer {
  readonly atMs: number;
  /** What the gateway said that it was: `stable`, `canary`, `baseline`; null where nothing answered. */
  readonly arm: string | null;
  readonly version: string | null;
  readonly ok: boolean;
}

export interface Traffic {
  /** All answers so far, oldest first. */
  readonly answers: readonly Answer[];
  stop(): Promise<void>;
}

/** Sends a steady stream of requests from this process, open loop: a slow answer delays no other request. */
export function startTraffic(options: {
  readonly url: string;
  readonly perSecond: number;
  /** Name of the host that is asked for, where it is not that of the URL. */
  readonly host?: string;
}): Traffic {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  const headers = options.host === undefined ? {} : { host: options.host };
  const answers: Answer[] = [];
  let open = 0;
  let sent = 0;
  const begunMs = Date.now();
  const send = (): void => {
    open += 1;
    const done = (answer: Omit<Answer, 'atMs'>): void => {
      open -= 1;
      answers.push({ atMs: Date.now(), ...answer });
    };
    const call = request(options.url, { agent, timeout: 5000, headers }, (response) => {
      response.resume();
      const header = (name: string): string | null => {
        const value = response.headers[name];
        return typeof value === 'string' ? value : null;
      };
      response.once('end', () =>
        done({
          arm: header('x-slipway-arm'),
          version: header('x-slipway-version'),
          ok: (response.statusCode ?? 500) < 500,
        }),
      );
      response.once('error', () => done({ arm: header('x-slipway-arm'), version: null, ok: false }));
    });
    call.once('timeout', () => call.destroy(new Error('no answer within 5 s')));
    call.once('error', () => done({ arm: null, version: null, ok: false }));
    call.end();
  };
  const timer = setInterval(() => {
    const due = Math.floor(((Date.now() - begunMs) / 1000) * options.perSecond);
    for (; sent < due; sent += 1) send();
  }, 10);
  return {
    answers,
    async stop() {
      clearInterval(timer);
      for (const until = Date.now() + 6000; open > 0 && Date.now() < until;)
        await new Promise((resolve) => setTimeout(resolve, 20));
      agent.destroy();
    },
  };
}
