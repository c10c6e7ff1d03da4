import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { findOnPath } from '../../tools/command.js';
import { lookFor } from '../../tools/part.js';
import { chromiumPart } from '../../tools/parts/chromium.js';

/** Under what other names it is installed. */
const NAMES = ['chromium-browser', 'google-chrome'] as const;
const ANSWER_MS = 60_000;

/** The browser on this machine, which the test runner has fetched if it could; undefined where there is none. */
export async function findChromium(): Promise<string | undefined> {
  const here = await lookFor(chromiumPart);
  if (here !== undefined) return here.path;
  for (const name of NAMES) {
    const found = await findOnPath(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** How a page is looked at. */
export interface Screen {
  readonly width: number;
  readonly height: number;
  /** Pixels of the picture for one of the page. */
  readonly scale?: number;
  readonly mobile?: boolean;
  readonly scheme?: 'light' | 'dark';
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/** A headless Chromium, spoken to by its own protocol over a pipe: nothing else to install, no port to find. */
export class Browser {
  /** Addresses that any page has asked for. */
  readonly requests: string[] = [];
  /** What pages wrote to the console, and what went wrong in them. */
  readonly complaints: string[] = [];
  private readonly waiting = new Map<number, (message: Message) => void>();
  private last = 0;
  private session = '';
  private loaded: () => void = () => undefined;

  private constructor(
    private readonly child: ChildProcess,
    private readonly profile: string,
  ) {
    let rest = '';
    (child.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
      const messages = (rest + chunk).split('\0');
      rest = messages.pop() ?? '';
      for (const text of messages) this.hear(JSON.parse(text) as Message);
    });
  }

  static async start(program: string): Promise<Browser> {
    const profile = await mkdtemp(path.join(tmpdir(), 'slipway-chromium-'));
    const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--hide-scrollbars'];
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
    const child = spawn(
      program,
      [...flags, ...quiet, `--user-data-dir=${profile}`, '--remote-debugging-pipe', 'about:blank'],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      },
    );
    const browser = new Browser(child, profile);
    const { targetId } = await browser.ask('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await browser.ask('Target.attachToTarget', { targetId, flatten: true });
    browser.session = String(sessionId);
    for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await browser.ask(`${domain}.enable`);
    return browser;
  }

  /** Opens an address on such a screen, and waits until it is loaded. */
  async open(url: string, screen: Screen): Promise<void> {
    const { width, height, scale = 1, mobile = false, scheme = 'light' } = screen;
    await this.ask('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: scale, mobile });
    await this.ask('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    const loaded = new Promise<void>((resolve) => (this.loaded = resolve));
    await this.ask('Page.navigate', { url });
    await loaded;
  }

  /** The value of an expression in the page, as JSON gives it. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result } = await this.ask('Runtime.evaluate', { expression, returnByValue: true });
    return (result as { readonly value: T }).value;
  }

  /** A picture (PNG) of the whole page, or of its first pixels. */
  async picture(height?: number): Promise<Buffer> {
    const { cssContentSize } = await this.ask('Page.getLayoutMetrics');
    const size = cssContentSize as { readonly width: number; readonly height: number };
    const clip = { x: 0, y: 0, width: size.width, height: Math.min(size.height, height ?? Infinity), scale: 1 };
    const { data } = await this.ask('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip });
    return Buffer.from(String(data), 'base64');
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill();
    await closed;
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  private async ask(method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const id = ++this.last;
    const session = this.session === '' ? {} : { sessionId: this.session };
    const answer = await new Promise<Message>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`Chromium did not answer ${method}`)), ANSWER_MS);
      this.waiting.set(id, (message) => {
        clearTimeout(timer);
        resolve(message);
      });
      (this.child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    });
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result ?? {};
  }

  private hear(message: Message): void {
    const { id, method, params = {} } = message;
    if (id !== undefined) {
      this.waiting.get(id)?.(message);
      this.waiting.delete(id);
    }
    if (method === 'Page.loadEventFired') this.loaded();
    if (method === 'Network.requestWillBeSent') this.requests.push((params['request'] as { readonly url: string }).url);
    if (method === 'Log.entryAdded' || method === 'Runtime.consoleAPICalled' || method === 'Runtime.exceptionThrown')
      this.complaints.push(JSON.stringify(params));
  }
}
