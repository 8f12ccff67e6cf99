// `npm run lint` checks formatting, types, typed rules, line length and layers; `npm run format`
// fixes what a tool can fix. clang-format and ruff come from PyPI at pinned versions, into
// build/tools.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, runMain, say, SetupError } from './steps.mjs';

const COLUMNS = 100;
const TOOLS = join(root, 'build/tools');
const bin = (name) => join(root, 'node_modules', name);
/** Arguments of Node that check the types of sources and tests. */
export const TYPE_CHECK = [bin('typescript/bin/tsc'), '-p', 'tsconfig.test.json'];

/** Checks the tree and its types, or formats it; returns whether no problem is left. */
export async function lint({ fix = false } = {}) {
  installTools();
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
    .trim()
    .split('\n')
    .filter((file) => existsSync(join(root, file)) && !file.startsWith('test/golden/'));
  const native = files.filter((file) => /\.(h|cpp|cc|cu)$/.test(file));
  const python = files.filter((file) => file.endsWith('.py'));
  const clangFormat = join(TOOLS, 'clang_format/data/bin/clang-format');
  const ruff = join(TOOLS, 'bin/ruff');
  const node = process.execPath;
  // The longest first, because they run side by side.
  const checks = [
    ['eslint', node, [bin('eslint/bin/eslint.js'), ...(fix ? ['--fix'] : []), '.']],
    ...(fix ? [] : [['types', node, TYPE_CHECK]]),
    ['prettier', node, [bin('prettier/bin/prettier.cjs'), ...prettierMode(fix), '.']],
    ['clang-format', clangFormat, [...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...native]],
    ['ruff format', ruff, ['format', '--quiet', ...(fix ? [] : ['--check']), ...python]],
    ['ruff', ruff, ['check', '--quiet', ...(fix ? ['--fix'] : []), ...python]],
    ['layers', node, [join(root, 'scripts/layers.mjs')]],
  ];
  let failed = false;
  const left = checks.values();
  const work = async () => {
    for (const check of left) failed = !(await passes(...check)) || failed;
  };
  // Only one at a time may change files.
  await Promise.all(Array.from({ length: fix ? 1 : availableParallelism() }, work));
  const long = files
    .filter((file) => /\.(ts|mjs|h|cpp|cc|cu|py|ya?ml)$|CMakeLists\.txt$/.test(file))
    .flatMap(longLines);
  for (const line of long) console.error(line);
  return !failed && long.length === 0;
}

const prettierMode = (fix) => ['--log-level', 'warn', fix ? '--write' : '--check'];

function passes(name, command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) =>
      reject(new SetupError(`${name} could not be started: ${error.message}.`)),
    );
    child.on('close', (status) => {
      process.stderr.write(output);
      if (status !== 0) console.error(`[lint] ${name} found something to mend`);
      resolve(status === 0);
    });
  });
}

/** Formatters break code, but not texts, regular expressions and test titles; authors do. */
function longLines(file) {
  return readFileSync(join(root, file), 'utf8')
    .split('\n')
    .flatMap((line, i) =>
      [...line].length > COLUMNS
        ? [`${file}:${i + 1}: ${[...line].length} columns, more than ${COLUMNS}`]
        : [],
    );
}

function installTools() {
  const wanted = readFileSync(join(root, 'scripts/tools-requirements.txt'), 'utf8');
  const stamp = join(TOOLS, 'requirements.txt');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('installing clang-format and ruff with pip');
  rmSync(TOOLS, { recursive: true, force: true });
  mkdirSync(TOOLS, { recursive: true });
  const python = process.env.PYTHON || 'python3';
  const pip = spawnSync(
    python,
    [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--no-deps',
      '--disable-pip-version-check',
      '--target',
      TOOLS,
    ].concat(['-r', join(root, 'scripts/tools-requirements.txt')]),
    { encoding: 'utf8' },
  );
  if (pip.status !== 0) {
    throw new SetupError(`pip could not install clang-format and ruff: ${pip.stderr.trim()}`);
  }
  writeFileSync(stamp, wanted);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runMain(async () => {
    if (!(await lint({ fix: process.argv.includes('--fix') }))) process.exitCode = 1;
  });
}
