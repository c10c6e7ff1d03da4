import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DOCTOR = fileURLToPath(new URL('../../tools/doctor.js', import.meta.url));
const EX_UNAVAILABLE = 69;

interface Report {
  readonly demoCanRun: boolean;
  readonly parts: readonly { part: string; state: string; path?: string; reasons: readonly string[] }[];
}

describe('doctor', () => {
  const home = mkdtempSync(join(tmpdir(), 'slipway-doctor-'));
  after(() => rmSync(home, { recursive: true, force: true }));

  function doctor(args: string[], env: Record<string, string>): { status: number | null; stdout: string } {
    return spawnSync(process.execPath, [DOCTOR, ...args], {
      env: { XDG_CACHE_HOME: home, ...env },
      encoding: 'utf8',
    });
  }

  test('--json prints one JSON document about every part', () => {
    const { status, stdout } = doctor(['--json'], {
      PATH: process.env['PATH'] ?? '',
      SLIPWAY_TEMPORAL_CLI: process.execPath,
      SLIPWAY_PROMETHEUS: process.execPath,
    });
    const report = JSON.parse(stdout) as Report;
    assert.equal(status, 0);
    assert.equal(report.demoCanRun, true);
    const expected = [
      'Node.js',
      'npm',
      'git',
      'Temporal dev server',
      'Temporal test server',
      'Prometheus',
      'etcd',
      'Kubernetes API server',
      'Kubernetes controller manager',
      'Gateway API definitions',
      'Traefik',
      'Chromium',
      'network namespace',
    ];
    assert.deepEqual(
      report.parts.map(({ part }) => part),
      expected,
    );
    assert.equal(report.parts.find(({ part }) => part === 'Prometheus')?.path, process.execPath);
  });

  test('what the demo needs and can not have ends with 69 and says why', () => {
    const { status, stdout } = doctor([], { PATH: '', SLIPWAY_TEMPORAL_CLI: process.execPath });
    assert.equal(status, EX_UNAVAILABLE);
    assert.match(stdout, /Prometheus .*unavailable .*apt-get is not installed; Go module: Go is not installed/);
    assert.match(stdout, /can't run here without: Prometheus\./);
  });

  test('an unknown option is a usage error', () => {
    assert.equal(doctor(['--jsno'], {}).status, 64);
  });
});
