import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { judge } from '../../domain/canary/judge.js';
import { metricPolicy } from '../../domain/canary/defaults.js';
import { replay } from '../../domain/canary/replay.js';
import type { Recording } from '../../domain/canary/replay.js';
import type { ArmSamples, JudgeInput } from '../../domain/canary/types.js';
import { seededRandom } from '../../bench/canary/random.js';
import { judgeCase } from '../../client/judging/judgement.js';
import type { Candidate, Judgement } from '../../client/judging/judgement.js';
import { reportPage } from '../../client/report/page.js';
import { Browser, findChromium } from '../support/chromium.js';
import { ARMS, recordedInput } from '../support/recorded.js';

/** What `docs/judge-report` shows is made anew where this says so. */
const PICTURES = process.env['SLIPWAY_PICTURES'] === '1' ? 'docs/judge-report' : null;

/** A rollout whose queue grows from the sixth minute on; a second metric, which may be below 0, is only shown. */
function queueing(): JudgeInput {
  const { atMs, ...recording } = recordedInput(ARMS.good);
  const random = seededRandom(3);
  const withValues = (arm: ArmSamples, rise: number): ArmSamples => ({
    ...arm,
    values: {
      'queue-depth': arm.timesMs.map((_, i) => (i % 17 === 5 ? null : 40 + 12 * random() + rise * Math.max(0, i - 20))),
      'inlet-temperature': arm.timesMs.map(() => -4 + random()),
    },
  });
  const queue: Recording = {
    ...recording,
    policy: {
      ...recording.policy,
      metrics: [
        metricPolicy('queue-depth'),
        {
          ...metricPolicy('inlet-temperature'),
          direction: 'either',
          critical: false,
          tolerance: { kind: 'difference', difference: 2 },
        },
      ],
    },
    canary: withValues(recording.canary, 1),
    comparison: withValues(recording.comparison!, 0),
  };
  return { ...queue, atMs: replay(queue, atMs).atMs };
}

const CASES = {
  good: recordedInput(ARMS.good),
  bad: { ...recordedInput({ ...ARMS.slow, minutes: 15 }) },
  held: recordedInput(ARMS.held),
  metric: queueing(),
} as const;

function judgement(
  name: string,
  input: JudgeInput,
  about: string | null = null,
  candidate: Candidate | null = null,
): Judgement {
  const { atMs, ...recording } = input;
  const subject = { name, about, recording, untilMs: atMs, asOfEnd: true, recorded: judge(input) };
  return judgeCase(subject, candidate);
}

const EVIL = `<script>alert(1)</script>"'><img src=https://example.com/x onerror=alert(2)>&`;

describe('the page of judge --html', () => {
  it('escapes every text that comes from outside', () => {
    const page = reportPage([judgement(EVIL, CASES.good, `${EVIL}\u202E`)], [EVIL]);
    assert.doesNotMatch(page, /<script|<img|\u202E/);
    assert.equal(page.split('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;&lt;img').length - 1, 5);
  });

  it('forbids itself scripts and requests, and is the same each time', () => {
    const page = reportPage([judgement('stage-1', CASES.bad)], []);
    assert.match(
      page,
      /http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-/,
    );
    assert.doesNotMatch(page, /<script|<link|<iframe|\son[a-z]+=|\sstyle=|url\(|@import|https?:/);
    assert.equal(page, reportPage([judgement('stage-1', CASES.bad)], []));
  });

  it('has a title and a description for every plot, and the numbers behind it', () => {
    const page = reportPage([judgement('stage-1', CASES.held), judgement('stage-2', CASES.good)], []);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    assert.equal(new Set(ids).size, ids.length, 'ids are not unique');
    const labelled = [...page.matchAll(/<svg viewBox="[^"]+" role="img" aria-labelledby="([^"]+) ([^"]+)"/g)];
    assert.equal(labelled.length, 16);
    for (const [, title = '', desc = ''] of labelled) assert.ok(ids.includes(title) && ids.includes(desc));
    assert.equal(page.match(/<figure>/g)?.length, 16);
    assert.equal(page.match(/<table>/g)?.length, 16);
    assert.doesNotMatch(page, /NaN|undefined|Infinity/);
  });

  it('shows further metrics over time, at each look with their limits, and block by block', () => {
    const page = reportPage([judgement('stage-1', CASES.metric)], []);
    const titles = [...page.matchAll(/<figcaption>([^<]+)</g)].map(([, title]) => title);
    assert.deepEqual(
      titles.filter((title) => /queue|inlet/.test(title ?? '')),
      [
        'queue-depth over time',
        'Ratio of queue-depth at each look, 95 % intervals',
        'queue-depth, block by block',
        'inlet-temperature (advisory) over time',
        'Difference of inlet-temperature (advisory) at each look, 95 % intervals',
        'inlet-temperature (advisory), block by block',
      ],
    );
    assert.match(page, /Mean of queue-depth over time\. Canary: [\d.]+ to [\d.]+\. Comparison: [\d.]+ to [\d.]+\./);
    assert.match(page, /At the last look [\d.]+×, 95 % interval [\d.]+× to [\d.]+×; the limit is 1\.2×\./);
    assert.match(page, /At the last look -?[\d.]+, 95 % interval -?[\d.]+ to -?[\d.]+; the limit is 2 or -2\./);
    // An advisory metric is no reason for a rollback, and so never the nearest to one.
    const looks = page.slice(page.indexOf('How near each look came to a rollback'));
    assert.match(looks, /queue-depth/);
    assert.doesNotMatch(looks, /inlet-temperature/);
    const evil = { ...CASES.metric, policy: { ...CASES.metric.policy, metrics: [metricPolicy(EVIL)] } };
    assert.match(
      reportPage([judgement('stage-1', evil)], []),
      /Metric &lt;script&gt;.*: no values, so that there is nothing to plot/,
    );
    assert.doesNotMatch(page, /NaN|undefined|Infinity/);
  });

  it('can be made of arms without histograms, without requests, and without a comparison', () => {
    const { good } = CASES;
    const bare = (arm: JudgeInput['canary']) => ({
      ...arm,
      leSeconds: [],
      series: arm.series.map((series) => ({ ...series, buckets: [] })),
    });
    const quiet = recordedInput(ARMS.quiet);
    const odd: readonly JudgeInput[] = [
      { ...good, canary: bare(good.canary), comparison: bare(good.comparison!) },
      { ...good, comparison: null },
      { ...good, canary: { timesMs: [], leSeconds: [], series: [] } },
      { ...good, atMs: good.startMs },
      quiet,
      { ...CASES.metric, comparison: null },
      { ...CASES.metric, policy: { ...CASES.metric.policy, judge: 'kayenta' } },
      {
        ...CASES.metric,
        canary: { ...CASES.metric.canary, values: { 'queue-depth': CASES.metric.canary.timesMs.map(() => 0) } },
        comparison: { ...CASES.metric.comparison!, values: {} },
      },
    ];
    for (const input of odd) {
      const page = reportPage([judgement('stage-1', input)], []);
      assert.doesNotMatch(page, /NaN|undefined|Infinity/);
    }
  });
});

const chromium = await findChromium();

describe(
  'the page in Chromium',
  { skip: chromium === undefined ? 'needs Chromium: SLIPWAY_CHROMIUM, or PATH' : false },
  () => {
    let browser: Browser;
    let folder: string;
    before(async () => {
      folder = await mkdtemp(path.join(tmpdir(), 'slipway-page-'));
      browser = await Browser.start(chromium!);
    });
    after(async () => {
      await browser.close();
      await rm(folder, { recursive: true, force: true });
    });

    for (const [name, input] of Object.entries(CASES)) {
      it(`shows a ${name} rollout without a request, a complaint, or anything wider than the screen`, async () => {
        const place = path.join(folder, `${name}.html`);
        const plots = 8 + 3 * input.policy.metrics.length;
        const other: Candidate = (policy) => ({ ...policy, judge: 'mann-whitney' });
        const shown = judgement('stage-2', input, `${EVIL} in production`, name === 'bad' ? other : null);
        await writeFile(place, reportPage([shown], []));
        const url = pathToFileURL(place).href;
        for (const screen of [
          { width: 1100, height: 900, scheme: 'light' },
          { width: 1100, height: 900, scheme: 'dark' },
          { width: 390, height: 844, mobile: true, scheme: 'light' },
        ] as const) {
          await browser.open(url, screen);
          assert.equal(await browser.evaluate('document.querySelectorAll("figure svg.plot").length'), plots);
          assert.equal(await browser.evaluate('document.documentElement.scrollWidth'), screen.width);
          assert.match(
            await browser.evaluate('document.querySelector("h1").textContent'),
            new RegExp(`^${shown.said.verdict.kind}`),
          );
          // A style that the policy refused would leave the browser's own.
          const paper = await browser.evaluate<string>('getComputedStyle(document.body).backgroundColor');
          assert.equal(paper, screen.scheme === 'dark' ? 'rgb(20, 23, 26)' : 'rgb(251, 251, 249)');
          // Every curve, bar and mark lies within its picture.
          const outside = await browser.evaluate<readonly string[]>(
            `[...document.querySelectorAll('svg.plot')].flatMap((svg) => [...svg.querySelectorAll('path,rect,circle,line,text')].filter((part) => {
            const [a, b] = [svg.getBoundingClientRect(), part.getBoundingClientRect()];
            return b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1;
          })).map((part) => part.outerHTML)`,
          );
          assert.deepEqual(outside, []);
          assert.ok((await browser.picture()).length > 10_000);
        }
        assert.deepEqual(browser.complaints, []);
        assert.deepEqual(
          [...new Set(browser.requests)].filter((asked) => !asked.startsWith('file:')),
          [],
        );
      });
    }

    if (PICTURES !== null)
      it('is what docs/judge-report shows', async () => {
        await mkdir(PICTURES, { recursive: true });
        const releases = { good: 'v1.8.0', bad: 'v1.9.0', held: 'v1.9.1', metric: 'v1.9.2' } as const;
        for (const [name, input] of Object.entries(CASES)) {
          const about = `checkout in production: ${releases[name as keyof typeof releases]}, rollout 3f2a9c1e5b7d8f00`;
          const place = path.join(folder, `${name}-shown.html`);
          await writeFile(place, reportPage([judgement('stage-2', input, about)], []));
          const url = pathToFileURL(place).href;
          for (const [kind, screen] of [
            ['light', { width: 900, height: 900, scheme: 'light' }],
            ['dark', { width: 900, height: 900, scheme: 'dark' }],
            ['phone', { width: 390, height: 844, mobile: true, scheme: 'light' }],
          ] as const) {
            if (name !== 'bad' && kind !== 'light') continue;
            await browser.open(url, screen);
            await writeFile(
              path.join(PICTURES, `${name}-${kind}.png`),
              await browser.picture(kind === 'phone' ? 3600 : undefined),
            );
          }
        }
      });
  },
);
