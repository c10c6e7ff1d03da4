import { inspect } from 'node:util';

import type { TestEvent } from 'node:test/reporters';

/** One line of the report: the outcome of a leaf test, or something a test said. */
export type ReportLine =
  | { readonly kind: 'pass'; readonly name: string }
  | { readonly kind: 'skip'; readonly name: string; readonly reason: string }
  | { readonly kind: 'fail'; readonly name: string; readonly error: string }
  | { readonly kind: 'diagnostic'; readonly message: string };

/** What Node's runner says about itself at the end. */
const SUMMARY = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

/**
 * A reporter for `node --test-reporter` that writes a {@link ReportLine} per line.
 * Only leaves count: a suite or a test with subtests is reported only when it failed by itself.
 * It is the module's default export because that is what Node loads.
 */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  /** The names of the tests around the running one, by nesting. */
  const path: string[] = [];
  /** The nesting of the last finished test: one deeper than this one's means that this one is its parent. */
  let finishedNesting = 0;

  for await (const event of events) {
    if (event.type === 'test:start') {
      path.length = event.data.nesting;
      path[event.data.nesting] = event.data.name;
    } else if (event.type === 'test:diagnostic') {
      const { message, nesting } = event.data;
      if (nesting > 0 || !SUMMARY.test(message)) yield line({ kind: 'diagnostic', message });
    } else if (event.type === 'test:pass' || event.type === 'test:fail') {
      const { nesting, name } = event.data;
      const isParent = finishedNesting > nesting;
      finishedNesting = nesting;
      const outcome = outcomeOf(event, [...path.slice(0, nesting), name].join(' › '), isParent);
      if (outcome !== undefined) yield line(outcome);
    }
  }
}

function outcomeOf(
  { type, data }: Extract<TestEvent, { type: 'test:pass' | 'test:fail' }>,
  name: string,
  isParent: boolean,
): ReportLine | undefined {
  const skipped = data.skip ?? data.todo;
  if (skipped !== undefined && skipped !== false) {
    return { kind: 'skip', name, reason: typeof skipped === 'string' ? skipped : 'no reason given' };
  }
  if (type === 'test:pass') return isParent || data.details.type === 'suite' ? undefined : { kind: 'pass', name };

  const { error } = data.details;
  if (isParent && 'failureType' in error && error.failureType === 'subtestsFailed') return undefined;
  return { kind: 'fail', name, error: inspect(error.cause ?? error) };
}

function line(reportLine: ReportLine): string {
  return `${JSON.stringify(reportLine)}\n`;
}
