import { join } from 'node:path';

import { findOnPath, run } from '../command.js';
import type { Source } from '../part.js';

export interface GoProgram {
  /** The import path of its main package. */
  readonly mainPackage: string;
  /** As Go modules number it, with the `v`. */
  readonly version: string;
  readonly program: string;
  /** How long a build takes, for people. */
  readonly duration: string;
}

/** A program built from a Go module, in a module of its own: `go install` refuses modules with replace directives. */
export function goModule({ mainPackage, version, program, duration }: GoProgram): Source {
  return {
    kind: 'Go module',
    what: `built from source in ${duration}`,
    obstacle: goObstacle,
    async fetch(folder) {
      const path = join(folder, program);
      await run('go', ['mod', 'init', `slipway.local/${program}`], { cwd: folder });
      await run('go', ['get', `${mainPackage}@${version}`], { cwd: folder });
      await run('go', ['build', '-o', path, mainPackage], { cwd: folder, env: { CGO_ENABLED: '0' } });
      return path;
    },
  };
}

/** Why nothing can be built with Go here, or undefined. */
export async function goObstacle(): Promise<string | undefined> {
  return (await findOnPath('go')) === undefined ? 'Go is not installed' : undefined;
}
