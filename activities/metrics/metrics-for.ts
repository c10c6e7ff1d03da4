// STUB-BY-LEAD
import type { MetricsPolicy } from '../../domain/policy.js';
import type { ArmSamples } from '../../domain/canary/types.js';
import type { Arm } from '../../domain/target.js';
import type { MetricsSource } from './metrics-source.js';
export function metricsFor(
  _p: MetricsPolicy,
  _d: { scrapeDir: string; secrets: Readonly<Record<string, string>> },
): MetricsSource {
  return {
    async samples({ lane, target, arms, toMs }, signal) {
      try {
        const text = await (await fetch(`${target.gateway}/metrics`, { signal })).text();
        const out: Partial<Record<Arm, ArmSamples>> = {};
        for (const { arm, version } of arms) {
          let requests = 0,
            errors = 0,
            found = false;
          const le: (number | null)[] = [];
          const counts: number[] = [];
          for (const line of text.split('\n')) {
            if (
              !line.includes(`service="${lane.service}"`) ||
              !line.includes(`arm="${arm}"`) ||
              !line.includes(`version="${version}"`)
            )
              continue;
            const value = Number(line.slice(line.lastIndexOf(' ') + 1));
            if (line.startsWith('slipway_gateway_requests_total')) {
              found = true;
              requests += value;
              if (/code="5/.test(line)) errors += value;
            }
            const b = /_bucket\{.*le="([^"]+)"/.exec(line);
            if (b) {
              le.push(b[1] === '+Inf' ? null : Number(b[1]));
              counts.push(value);
            }
          }
          if (found)
            out[arm] = {
              timesMs: [toMs],
              leSeconds: le,
              series: [{ instance: 'gateway', requests: [requests], errors: [errors], buckets: [counts] }],
            };
        }
        return Object.keys(out).length > 0 ? { kind: 'value', arms: out } : { kind: 'no-data', detail: 'nothing yet' };
      } catch (error) {
        return { kind: 'unreachable', reason: String(error) };
      }
    },
  };
}
