import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { defaultAnalysis, kayentaMetric } from '../../domain/canary/defaults.js';
import { importKayentaConfig } from '../../formats/kayenta-config.js';

/** A config as Spinnaker's API gives it, with keys that are of no concern here. */
const config = {
  id: 'f0e1',
  name: 'shop',
  configVersion: '1',
  applications: ['shop'],
  judge: { name: 'NetflixACAJudge-v1.0', judgeConfigurations: {} },
  metrics: [
    {
      name: 'error-rate',
      query: { type: 'prometheus', customInlineTemplate: 'PromQL:…' },
      groups: ['Errors'],
      analysisConfigurations: {
        canary: {
          direction: 'increase',
          critical: true,
          nanStrategy: 'replace',
          effectSize: { allowedIncrease: 1.1, criticalIncrease: 1.5 },
        },
      },
      scopeName: 'default',
    },
    {
      name: 'CPU usage',
      query: { type: 'prometheus', metricName: 'cpu' },
      groups: ['System', 'System'],
      analysisConfigurations: {
        canary: {
          direction: 'decrease',
          mustHaveData: true,
          outliers: { strategy: 'remove', outlierFactor: 2 },
          effectSize: { measure: 'cles', allowedDecrease: 0.3 },
        },
      },
    },
    { name: 'old', groups: ['System'], analysisConfigurations: { canary: { muted: true } } },
  ],
  templates: {},
  classifier: { groupWeights: { Errors: 70, System: 30 }, scoreThresholds: { pass: 90, marginal: 60 } },
};

describe('a canary config of Kayenta', () => {
  it('becomes the policy that it describes', () => {
    const read = importKayentaConfig(config);
    assert.ok(read.ok);
    const { passScore, marginalScore, groupWeights, metrics } = read.kayenta;
    assert.deepEqual([passScore, marginalScore, groupWeights], [90, 60, { Errors: 70, System: 30 }]);
    assert.deepEqual(metrics, [
      {
        ...kayentaMetric('error-rate'),
        groups: ['Errors'],
        direction: 'increase',
        critical: true,
        nanStrategy: 'replace',
        effect: {
          measure: 'meanRatio',
          allowedIncrease: 1.1,
          allowedDecrease: 1,
          criticalIncrease: 1.5,
          criticalDecrease: 1,
        },
      },
      {
        ...kayentaMetric('CPU usage'),
        groups: ['System'],
        direction: 'decrease',
        mustHaveData: true,
        outliers: { strategy: 'remove', factor: 2 },
        effect: {
          measure: 'cles',
          allowedIncrease: 0.5,
          allowedDecrease: 0.3,
          criticalIncrease: 0.5,
          criticalDecrease: 0.5,
        },
      },
    ]);
    assert.deepEqual(
      read.metrics.map(({ name, direction, critical }) => [name, direction, critical]),
      [['CPU usage', 'decrease', false]],
    );
    assert.deepEqual(read.warnings, [
      'metric old is muted, and was left out',
      'metric CPU usage needs a query: write it in analysis.metrics',
    ]);
  });

  it('may say next to nothing', () => {
    const read = importKayentaConfig({ metrics: [{ name: 'latency-p99' }] });
    assert.ok(read.ok);
    assert.deepEqual(read.kayenta, { ...defaultAnalysis().kayenta, metrics: [kayentaMetric('latency-p99')] });
    const other = importKayentaConfig({ ...config, judge: { name: 'dredd-v1.0' } });
    assert.ok(other.ok);
    assert.match(other.warnings[0]!, /judge\.name is "dredd-v1\.0": judged as NetflixACAJudge-v1\.0 instead/);
  });

  it('is refused with the field, the value and what to write instead', () => {
    const refused = (document: unknown): readonly string[] => {
      const read = importKayentaConfig(document);
      assert.ok(!read.ok);
      return read.problems.map(({ message, remedy }) => `${message} | ${remedy}`);
    };
    const withCanary = (canary: unknown) => ({
      metrics: [{ name: 'm', groups: ['g'], analysisConfigurations: { canary } }],
    });
    const at = 'metrics[0].analysisConfigurations.canary';
    assert.deepEqual(refused(withCanary({ direction: 'up' })), [
      `${at}.direction: "up" is not known | write one of increase, decrease, either`,
    ]);
    assert.deepEqual(refused(withCanary({ critical: 'yes', effectSize: { allowedIncrease: -1 } })), [
      `${at}.critical: "yes" is neither true nor false | write true or false, without quotes`,
      `${at}.effectSize.allowedIncrease: -1 is not accepted | write a number of 0 or more`,
    ]);
    assert.deepEqual(refused({}), [
      'metrics: there is no list of metrics | is it the right file? Give a canary config of Kayenta',
    ]);
    assert.deepEqual(refused({ metrics: [{ name: 'm' }, { name: 'm' }] }), [
      'metrics[1].name: there is another metric "m" | give each metric a name of its own',
    ]);
    assert.deepEqual(refused({ ...config, classifier: { groupWeights: { Errors: 70, System: 40 } } }), [
      'classifier.groupWeights: they add up to 110 % | let them add up to 100',
    ]);
    assert.deepEqual(refused({ ...config, classifier: { groupWeights: { Latency: 10 } } }), [
      'classifier.groupWeights.Latency: no metric is in this group | write one of Errors, System',
    ]);
    assert.deepEqual(refused({ ...config, classifier: { scoreThresholds: { pass: 50, marginal: 60 } } }), [
      'classifier.scoreThresholds.marginal: 60 is above pass, 50 | write 50 or less',
    ]);
    assert.equal(refused(null).length, 1);
  });

  it('is read or refused, whatever it is', () => {
    fc.assert(fc.property(fc.jsonValue(), (document) => void importKayentaConfig(document)));
  });
});
