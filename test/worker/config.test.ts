import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { ConfigError, loadWorkerConfig } from '../../worker/config.js';

function refusal(env: Readonly<Record<string, string>>): string {
  try {
    loadWorkerConfig(env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail(`${JSON.stringify(env)} was accepted`);
}

describe('the settings of a worker', () => {
  it('all have defaults, which need no network and no secret', () => {
    const { version, ...config } = loadWorkerConfig({});
    assert.match(version, /^[0-9a-f]{12}$/);
    assert.deepEqual(config, {
      taskQueue: 'slipway',
      dataDir: '.slipway',
      trustedKeysFile: '.slipway/keys/trusted.json',
      gateways: ['http://127.0.0.1:7700'],
      kubernetes: [],
      clusters: { kubeconfig: [], own: null },
      http: { host: '127.0.0.1', port: 9464 },
      logLevel: 'info',
      maxWatches: 2000,
      maxCachedWorkflows: 400,
      registry: { dockerConfig: null, insecure: [], timeoutMs: 3000 },
      storage: { dataDir: '.slipway', s3: null },
      riskModel: { apiKey: null, baseUrl: null, model: 'gpt-5-mini', timeoutMs: 20_000, maxCallsPerHour: 200 },
      slack: { botToken: null, apiUrl: 'https://slack.com/api' },
      publicUrl: null,
      webhooks: {},
      secrets: {},
    });
  });

  it('take an empty variable for one that is not set, as shells and compose files make them', () => {
    const empty = Object.fromEntries(
      ['SLIPWAY_TASK_QUEUE', 'SLIPWAY_GATEWAYS', 'SLIPWAY_HTTP_PORT', 'OPENAI_API_KEY', 'OPENAI_BASE_URL'].map(
        (name) => [name, ''],
      ),
    );
    assert.deepEqual(loadWorkerConfig({ ...empty, SLIPWAY_WEBHOOK_ONCALL: '' }), loadWorkerConfig({}));
  });

  it('of a bucket arrive, and its key is no part of what is logged', () => {
    const bucket = { SLIPWAY_EVIDENCE_STORE: 's3://records.example/team/slipway/', AWS_REGION: 'eu-west-1' };
    const key = { AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'secret' };
    const config = loadWorkerConfig({ ...bucket, ...key });
    assert.deepEqual(config.storage.s3, {
      bucket: 'records.example',
      prefix: 'team/slipway/',
      endpoint: null,
      region: 'eu-west-1',
      accessKeyId: 'AKID',
      secretAccessKey: 'secret',
      sessionToken: null,
    });
    const other = loadWorkerConfig({ ...bucket, ...key, AWS_SECRET_ACCESS_KEY: 'another' });
    assert.equal(other.version, config.version);
    const elsewhere = { ...bucket, ...key, SLIPWAY_S3_REGION: 'eu-north-1', SLIPWAY_S3_ENDPOINT: 'http://127.0.0.1:9' };
    assert.deepEqual(
      [loadWorkerConfig(elsewhere).storage.s3?.region, loadWorkerConfig(elsewhere).storage.s3?.endpoint],
      ['eu-north-1', 'http://127.0.0.1:9'],
    );
    assert.notEqual(loadWorkerConfig(elsewhere).version, config.version);
    assert.match(refusal(bucket), /AWS_ACCESS_KEY_ID is not set.*s3:\/\/records/);
    for (const wrong of ['records', 's3://', 's3://A', 's3://records/../x y', 'https://records'])
      assert.match(refusal({ ...key, SLIPWAY_EVIDENCE_STORE: wrong }), /SLIPWAY_EVIDENCE_STORE=.*s3:\/\/bucket/, wrong);
  });

  it('arrive with their types', () => {
    const config = loadWorkerConfig({
      SLIPWAY_TASK_QUEUE: 'other',
      SLIPWAY_DATA_DIR: '/var/lib/slipway',
      SLIPWAY_TRUSTED_KEYS_FILE: '/etc/slipway/trusted.json',
      SLIPWAY_GATEWAYS: ' http://a:1 ,, http://b:2/ ',
      SLIPWAY_KUBERNETES: 'shop, arn:aws:eks:eu:1:cluster/prod/pay',
      KUBECONFIG: '/etc/slipway/eu:/etc/slipway/us',
      KUBERNETES_SERVICE_HOST: 'fd00::1',
      KUBERNETES_SERVICE_PORT: '6443',
      SLIPWAY_HTTP_HOST: '0.0.0.0',
      SLIPWAY_HTTP_PORT: '0',
      SLIPWAY_LOG_LEVEL: 'debug',
      SLIPWAY_MAX_WATCHES: '7',
      DOCKER_CONFIG: '/etc/slipway/docker',
      SLIPWAY_REGISTRY_TIMEOUT_MS: '500',
      SLIPWAY_REGISTRY_INSECURE: 'registry.lan:5000, [fd00::1]:5000,10.0.0.7',
      OPENAI_API_KEY: 'sk-test',
      OPENAI_BASE_URL: 'http://127.0.0.1:9',
      SLIPWAY_RISK_MODEL_TIMEOUT_MS: '500',
      SLIPWAY_WEBHOOK_ONCALL: 'https://hooks.example.com/x',
      SLIPWAY_SECRET_PROMETHEUS_TOKEN: 'Bearer abc',
      SLIPWAY_SLACK_BOT_TOKEN: 'xoxb-1',
      SLIPWAY_SLACK_API_URL: 'http://127.0.0.1:8/api/',
      SLIPWAY_PUBLIC_URL: 'https://slipway.example.com/',
    });
    assert.deepEqual(config.slack, { botToken: 'xoxb-1', apiUrl: 'http://127.0.0.1:8/api' });
    assert.equal(config.publicUrl, 'https://slipway.example.com');
    assert.equal(config.taskQueue, 'other');
    assert.equal(config.dataDir, '/var/lib/slipway');
    assert.deepEqual(config.gateways, ['http://a:1', 'http://b:2/']);
    assert.deepEqual(config.kubernetes, [
      { context: null, namespace: 'shop' },
      { context: 'arn:aws:eks:eu:1:cluster/prod', namespace: 'pay' },
    ]);
    assert.deepEqual(config.clusters, {
      kubeconfig: ['/etc/slipway/eu', '/etc/slipway/us'],
      own: { host: 'fd00::1', port: '6443', account: '/var/run/secrets/kubernetes.io/serviceaccount' },
    });
    assert.deepEqual(config.http, { host: '0.0.0.0', port: 0 });
    assert.equal(config.maxWatches, 7);
    assert.deepEqual(config.registry, {
      dockerConfig: '/etc/slipway/docker/config.json',
      insecure: ['registry.lan:5000', '[fd00::1]:5000', '10.0.0.7'],
      timeoutMs: 500,
    });
    assert.equal(config.riskModel.apiKey, 'sk-test');
    assert.equal(config.riskModel.timeoutMs, 500);
    assert.deepEqual(config.webhooks, { oncall: 'https://hooks.example.com/x' });
    assert.deepEqual(config.secrets, { prometheus_token: 'Bearer abc' });
  });

  it('that are wrong stop the start: all are named at once, with the value, and where to read on', () => {
    const text = refusal({
      SLIPWAY_HTTP_PORT: '70000',
      SLIPWAY_LOG_LEVEL: 'loud',
      SLIPWAY_MAX_WATCHES: 'many',
      SLIPWAY_GATEWAYS: 'http://a:1,localhost:7700',
      SLIPWAY_REGISTRY_INSECURE: 'http://registry.lan:5000',
    });
    assert.match(text, /SLIPWAY_HTTP_PORT=70000: /);
    assert.match(text, /SLIPWAY_LOG_LEVEL=loud: .*"trace"\|"debug"\|"info"\|"warn"\|"error"/);
    assert.match(text, /SLIPWAY_MAX_WATCHES=many: /);
    assert.match(text, /SLIPWAY_GATEWAYS=http:\/\/a:1,localhost:7700: an http:\/\/ or https:\/\/ address/);
    assert.match(text, /SLIPWAY_REGISTRY_INSECURE=http:\/\/registry\.lan:5000: host:port, without http:\/\//);
    assert.match(text, /See \.env\.example/);
  });

  it('that are secret are never repeated', () => {
    const webhook = refusal({ SLIPWAY_WEBHOOK_ONCALL: 'hooks.example.com/T0/secret-part' });
    assert.match(webhook, /SLIPWAY_WEBHOOK_ONCALL is not an http:\/\/ or https:\/\/ address/);
    assert.doesNotMatch(webhook, /secret-part/);
    const wrong = refusal({ OPENAI_API_KEY: 'sk-very-secret', OPENAI_BASE_URL: 'no-url' });
    assert.match(wrong, /OPENAI_BASE_URL=no-url/);
    assert.doesNotMatch(wrong, /sk-very-secret/);
  });

  it('have a version that tells two workers apart, but not by the values of secrets', () => {
    const version = (env: Readonly<Record<string, string>>): string => loadWorkerConfig(env).version;
    assert.notEqual(version({ SLIPWAY_MAX_WATCHES: '7' }), version({}));
    assert.notEqual(version({ OPENAI_API_KEY: 'a' }), version({}));
    assert.equal(version({ OPENAI_API_KEY: 'a' }), version({ OPENAI_API_KEY: 'b' }));
    assert.equal(version({ SLIPWAY_SECRET_X: 'a' }), version({ SLIPWAY_SECRET_X: 'b' }));
    assert.notEqual(version({ SLIPWAY_SECRET_X: 'a' }), version({ SLIPWAY_SECRET_Y: 'a' }));
    assert.equal(version({ SLIPWAY_WEBHOOK_A: 'http://a' }), version({ SLIPWAY_WEBHOOK_A: 'http://b' }));
    assert.equal(version({ HOME: '/root' }), version({}));
  });

  it('in .env.example are accepted as they stand there, and are the defaults', async () => {
    const lines = (await readFile('.env.example', 'utf8')).split('\n');
    const set = lines.flatMap((line) => /^([A-Z_]+)=(.*)$/.exec(line)?.slice(1, 3) ?? []);
    const env: Record<string, string> = {};
    for (let at = 0; at < set.length; at += 2) env[set[at] ?? ''] = set[at + 1] ?? '';
    assert.ok(Object.keys(env).length > 5);
    assert.deepEqual(loadWorkerConfig(env), loadWorkerConfig({}));
  });
});
