/** Makes the pictures in `docs/page`: `SLIPWAY_PICTURES=1 npm test -- test/web/page`. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Browser } from 'playwright-core';
import { openTab } from './looks.js';
import type { ScreenName } from './looks.js';

const SCREENS = ['light', 'dark', 'phone'] as const satisfies readonly ScreenName[];

/** Pictures of a page on each kind of screen; `prepare` brings it into the state that is shown. */
export async function takePictures(options: {
  readonly browser: Browser;
  readonly folder: string;
  readonly name: string;
  readonly url: string;
  readonly prepare?: (page: Awaited<ReturnType<typeof openTab>>['page']) => Promise<void>;
  /** Only what is on the screen, as for a dialog. */
  readonly screenOnly?: boolean;
}): Promise<void> {
  const { browser, folder, name, url, prepare, screenOnly = false } = options;
  await mkdir(folder, { recursive: true });
  for (const screen of SCREENS) {
    const { page, context } = await openTab(browser, url, screen);
    await page.waitForTimeout(300);
    await prepare?.(page);
    await page.screenshot({ path: path.join(folder, `${name}-${screen}.png`), fullPage: !screenOnly });
    await context.close();
  }
}
