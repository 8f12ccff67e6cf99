// `npm run test:races [part of a name]`: runs every kernel of native/**/*.cu on threads under a
// sanitizer (test/races/races.cpp), which detects missing barriers, conflicting accesses and
// accesses outside a buffer. Needs a C++ compiler with its sanitizers, but no GPU, nvcc or
// libtorch.
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, runMain, runStep, say } from './steps.mjs';

const SANITIZERS = { thread: 'thread', address: 'address,undefined' };

await runMain(() => {
  const kernels = readdirSync(join(root, 'native'), { recursive: true })
    .filter((name) => name.endsWith('.cu'))
    .map((name) => join('native', name));
  const folder = join(root, 'build/races');
  mkdirSync(folder, { recursive: true });
  for (const [name, sanitizers] of Object.entries(SANITIZERS)) {
    const program = join(folder, name);
    say(`the kernels under ${sanitizers}`);
    runStep(
      process.env.CXX || 'c++',
      [
        '-std=c++20',
        '-O1',
        '-g',
        '-ffp-contract=off',
        '-Wno-unknown-pragmas',
        `-fsanitize=${sanitizers}`,
        '-fno-sanitize-recover=all',
        '-DCREAM_BLOCK_THREADS',
        '-pthread',
        '-I',
        'native',
        '-x',
        'c++',
        ...kernels,
        'test/races/races.cpp',
        '-o',
        program,
      ],
      { hint: 'A compiler with sanitizers is needed, e.g. GCC 11 with libtsan and libasan.' },
    );
    runStep(program, process.argv.slice(2));
  }
});
