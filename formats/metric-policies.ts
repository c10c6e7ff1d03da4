import { kayentaEffect, kayentaMetric, metricPolicy } from '../domain/canary/defaults.js';
import type { KayentaMetric, MetricPolicy } from '../domain/canary/types.js';

/** Every key may be missing, or be there without a value. */
type Loose<Shape> = { readonly [Key in keyof Shape]?: Shape[Key] | undefined };

/** A further metric as people write it: what is missing has the default of `MetricPolicy`. */
export interface WrittenMetric extends Loose<Omit<MetricPolicy, 'name' | 'tolerance'>> {
  readonly name: string;
  /** One of both. */
  readonly tolerance?: { readonly ratio?: number | undefined; readonly difference?: number | undefined } | undefined;
}

/** A metric of `kayenta` as people write it: what is missing has Kayenta's own default. */
export interface WrittenKayentaMetric extends Loose<Omit<KayentaMetric, 'name' | 'outliers' | 'effect'>> {
  readonly name: string;
  readonly outliers?: Loose<KayentaMetric['outliers']> | undefined;
  readonly effect?: Loose<KayentaMetric['effect']> | undefined;
}

/** A further metric with every default filled in. */
export function metricPolicyOf(written: WrittenMetric): MetricPolicy {
  const usual = metricPolicy(written.name);
  const { ratio, difference } = written.tolerance ?? {};
  return {
    name: written.name,
    direction: written.direction ?? usual.direction,
    critical: written.critical ?? usual.critical,
    weight: written.weight ?? usual.weight,
    tolerance:
      ratio !== undefined
        ? { kind: 'ratio', ratio }
        : difference !== undefined
          ? { kind: 'difference', difference }
          : usual.tolerance,
    min: written.min ?? usual.min,
    max: written.max ?? usual.max,
  };
}

/** A metric of `kayenta` with every default filled in. */
export function kayentaMetricOf(written: WrittenKayentaMetric): KayentaMetric {
  const usual = kayentaMetric(written.name);
  const effect = kayentaEffect(written.effect?.measure);
  return {
    name: written.name,
    groups: written.groups ?? usual.groups,
    weight: written.weight ?? usual.weight,
    direction: written.direction ?? usual.direction,
    critical: written.critical ?? usual.critical,
    mustHaveData: written.mustHaveData ?? usual.mustHaveData,
    nanStrategy: written.nanStrategy ?? usual.nanStrategy,
    outliers: {
      strategy: written.outliers?.strategy ?? usual.outliers.strategy,
      factor: written.outliers?.factor ?? usual.outliers.factor,
    },
    effect: {
      measure: effect.measure,
      allowedIncrease: written.effect?.allowedIncrease ?? effect.allowedIncrease,
      allowedDecrease: written.effect?.allowedDecrease ?? effect.allowedDecrease,
      criticalIncrease: written.effect?.criticalIncrease ?? effect.criticalIncrease,
      criticalDecrease: written.effect?.criticalDecrease ?? effect.criticalDecrease,
    },
  };
}
