// Checks scripts/layers.json: TypeScript imports and C++ includes stay within the allowed modules,
// only one module may include Node's headers, and no file exceeds its limit. Prints every violation
// with the allowed modules; the exit code is 1 if there is one.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { root } from './steps.mjs';

const rules = JSON.parse(readFileSync(join(root, 'scripts/layers.json'), 'utf8'));
const breaks = [];

function* files(folder, ending) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* files(path, ending);
    else if (ending.test(entry.name)) yield path;
  }
}

const moduleOf = (path) => path.split('/')[1];

function check(file, target, allowed, own) {
  if (own === undefined || target === undefined) return; // src/index.ts re-exports from everywhere
  const targetModule = moduleOf(target);
  if (targetModule === own || targetModule === undefined) return;
  const inModule = target.split('/').slice(1).join('/');
  if (allowed.some((rule) => rule === targetModule || rule === inModule)) return;
  breaks.push(`${file} uses ${target}; ${own} may use ${allowed.join(', ') || 'no other module'}`);
}

function checkSize(file, text) {
  const lines = text.split('\n').length - 1;
  const limit = rules.longFiles[file]?.lines ?? rules.maxLines;
  if (lines > limit)
    breaks.push(
      `${file} has ${lines} lines, more than ${limit}: split it, or give the reason under ` +
        'longFiles in scripts/layers.json',
    );
}

for (const path of files(join(root, 'src'), /\.ts$/)) {
  const file = relative(root, path);
  const text = readFileSync(path, 'utf8');
  checkSize(file, text);
  if (text.includes('cream.node') && file !== rules.only['cream.node'])
    breaks.push(`${file} names cream.node; only ${rules.only['cream.node']} may`);
  const own = file.split('/').length > 2 ? moduleOf(file) : undefined;
  for (const match of text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
    check(file, relative(root, resolve(dirname(path), match[1])), rules.src[own] ?? [], own);
  }
}

for (const path of files(join(root, 'native'), /\.(h|cpp|cc|cu|cuh)$/)) {
  const file = relative(root, path);
  const text = readFileSync(path, 'utf8');
  checkSize(file, text);
  for (const match of text.matchAll(/#include\s+[<"]([^>"]+)[>"]/g)) {
    if (match[1] === 'napi.h' && !file.startsWith(rules.only['napi.h']))
      breaks.push(`${file} includes napi.h; only ${rules.only['napi.h']} may`);
    const isOurs = Object.hasOwn(rules.native, match[1].split('/')[0]) && match[1].includes('/');
    if (isOurs)
      check(file, `native/${match[1]}`, rules.native[moduleOf(file)] ?? [], moduleOf(file));
  }
}

for (const path of files(join(root, 'test'), /\.(ts|h|cpp)$/))
  checkSize(relative(root, path), readFileSync(path, 'utf8'));

for (const line of breaks) console.error(line);
process.exitCode = breaks.length > 0 ? 1 : 0;
