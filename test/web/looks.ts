/** Pages in a real Chromium: opened on screens of several kinds, listened to, checked by axe. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, Page } from 'playwright-core';

export const SCREENS = {
  light: { viewport: { width: 1280, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: 'dark' },
  phone: { viewport: { width: 360, height: 780 }, colorScheme: 'light', isMobile: true, hasTouch: true },
  'phone-dark': { viewport: { width: 360, height: 780 }, colorScheme: 'dark', isMobile: true, hasTouch: true },
} as const;
export type ScreenName = keyof typeof SCREENS;

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

export async function launch(program: string): Promise<Browser> {
  return chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu'] });
}

/** A tab, and everything that went wrong in it. */
export interface Tab {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Errors, violations of the content security policy, and what the page wrote to the console. */
  readonly complaints: string[];
  /** Addresses of other servers that were asked. */
  readonly strangers: string[];
}

/** A tab of its own, like another person's browser. */
export async function openTab(browser: Browser, url: string, screen: ScreenName = 'light'): Promise<Tab> {
  const context = await browser.newContext({ ...SCREENS[screen], reducedMotion: 'reduce' });
  return tabIn(context, url);
}

/** A further tab of the same person. */
export async function tabIn(context: BrowserContext, url: string): Promise<Tab> {
  const page = await context.newPage();
  const complaints: string[] = [];
  const strangers: string[] = [];
  page.on('console', (message) => {
    // A connection that a test cuts is told by the browser itself.
    if (!/net::ERR_|Failed to load resource/.test(message.text()))
      complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) strangers.push(request.url());
  });
  await page.goto(url);
  return { page, context, complaints, strangers };
}

interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string | null;
    readonly help: string;
    readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
  }[];
}

/** What axe finds serious or critical, a line each. */
export async function seriousFindings(page: Page): Promise<readonly string[]> {
  // By the debugger: the page's own policy lets no other script in.
  if (!(await page.evaluate<boolean>('"axe" in globalThis'))) await page.evaluate(await readFile(AXE, 'utf8'));
  const { violations } = await page.evaluate<AxeResult>('axe.run(document, { resultTypes: ["violations"] })');
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, help, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${help}: ${html} ${failureSummary ?? ''}`),
    );
}
