// Prints the lines of code per module: `node scripts/size.mjs`.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './steps.mjs';

const counts = new Map();
for (const file of execFileSync('git', ['ls-files', 'native', 'src', 'scripts', 'test', 'bench'], {
  cwd: root,
  encoding: 'utf8',
})
  .trim()
  .split('\n')) {
  if (!/\.(ts|mjs|cpp|cc|h|cu|py)$/.test(file)) continue;
  const module = file
    .split('/')
    .slice(0, 2)
    .join('/')
    .replace(/\/[^/]+\.[a-z]+$/, '');
  const lines = readFileSync(join(root, file), 'utf8').split('\n').length - 1;
  counts.set(module, (counts.get(module) ?? 0) + lines);
}
let total = 0;
for (const [module, lines] of [...counts].sort((a, b) => b[1] - a[1])) {
  console.log(`${String(lines).padStart(7)}  ${module}`);
  total += lines;
}
console.log(`${String(total).padStart(7)}  in all`);
