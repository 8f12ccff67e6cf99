/**
 * The package as a user installs it: packed, installed into empty projects, and used there with the
 * README's program. The dependencies come from the npm registry; without it the tests are skipped.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { temporaryFolder } from '../support/tiny-model.js';

const root = resolve(import.meta.dirname, '../..');
const work = temporaryFolder('cream-package-');

function run(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', NO_COLOR: '1', OMP_WAIT_POLICY: 'passive', ...env },
  });
  return { status, stdout, stderr };
}

const packed = run(
  process.execPath,
  [
    'scripts/prebuild.mjs',
    ...['--out', work, '--addon', process.env['CREAM_ADDON'] ?? 'build/Release/cream.node'],
  ],
  root,
);
const [platform, main] = packed.stdout.trim().split('\n') as [string, string];

/** An empty project with these tarballs installed. */
function project(name: string, tarballs: string[], flags: string[]) {
  const folder = join(work, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{"name": "empty", "private": true}\n');
  const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', '--omit=optional'];
  const { status, stderr } = run('npm', [...install, ...flags, ...tarballs], folder);
  return { folder, status, stderr };
}

const bare = project('bare', [main], ['--ignore-scripts']);
const offline = /E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH)|ENOTCACHED/.test(
  bare.stderr,
);
if (offline) console.warn('The npm registry is not reachable: no package is installed.');
const itInstalls = offline ? it.skip : it;

const load = `
  import { engineInfo } from 'cream-lm';
  try { console.log(engineInfo().torch); } catch (error) { console.log(error.message); }`;
const module = (code: string) => ['--input-type=module', '-e', code];

/** The first TypeScript block under a heading of the README. */
function program(heading: string): string {
  const text = readFileSync(join(root, 'README.md'), 'utf8');
  return /```ts[^\n]*\n([^]*?)```/.exec(text.slice(text.indexOf(`## ${heading}`)))![1]!;
}

describe('the tarballs', () => {
  it('are built for this machine', () => {
    expect(packed).toMatchObject({ status: 0 });
    expect(platform).toMatch(/cream-lm-(linux|darwin)-.*\.tgz$/);
  });

  it('hold what messages name, and nothing that only a clone uses', () => {
    const list = run('tar', ['-tzf', main], work).stdout.split('\n');
    const files = list.map((name) => name.replace('package/', ''));
    expect(files.filter((name) => /\.map$|tsbuildinfo|golden|^test|\.built/.test(name))).toEqual(
      [],
    );
    const cited = readdirSync(join(root, 'dist'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.js'))
      .flatMap((name) => [
        ...readFileSync(join(root, 'dist', name), 'utf8').matchAll(
          /\b(?:docs|examples)\/[\w-]+\.(?:md|ts)\b/g,
        ),
      ])
      .map(([path]) => path);
    expect(cited.length).toBeGreaterThan(3);
    expect([...new Set(cited)].filter((path) => !files.includes(path))).toEqual([]);
    expect(files).toContain('recipes/quickstart.yaml');
  });

  it('have types for import and require alike', () => {
    const attw = join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js');
    const { status, stdout } = run(
      process.execPath,
      [attw, main, '--format', 'json', '--no-definitely-typed'],
      work,
    );
    expect((JSON.parse(stdout) as { problems: unknown }).problems).toEqual({});
    expect(status).toBe(0);
  });
});

describe('an installed package', () => {
  itInstalls('without an addon names the command that makes one', () => {
    expect(bare).toMatchObject({ status: 0 });
    const { stdout } = run(process.execPath, module(load), bare.folder);
    expect(stdout).toMatch(/^The native addon is missing .*: run `npx cream setup`, which/);
    const plan = run('npx', ['cream', 'setup', '--dry-run'], bare.folder, {
      CREAM_CACHE: join(work, 'nothing'),
      LIBTORCH: '',
    });
    expect(plan.stderr).toMatch(/libtorch [\d.]+ for the CPU will be fetched .* 200 MB/);
    expect(plan.stderr).toMatch(/the addon will be compiled in .*bare.node_modules.cream-lm.build/);
    const json = run('npx', ['cream', 'setup', '--dry-run', '--json'], bare.folder, {
      CREAM_CACHE: join(work, 'nothing'),
      LIBTORCH: '',
    });
    expect(JSON.parse(json.stdout)).toMatchObject({
      done: false,
      libtorch: { path: null },
      addon: { compiled: true },
    });
    const steps = join(bare.folder, 'node_modules/cream-lm/scripts/steps.mjs');
    const found = `import { packageFolder } from ${JSON.stringify(steps)};
      console.log(packageFolder('cmake-js'));`;
    expect(run(process.execPath, module(found), bare.folder).stdout.trim()).toBe(
      join(bare.folder, 'node_modules/cmake-js'),
    );
  });

  itInstalls.each(['--ignore-scripts', '--ignore-scripts=false'])(
    "with the platform's package runs the README's program (%s)",
    (flag) => {
      const { folder, status } = project(`full${flag}`, [main, platform], [flag]);
      expect(status).toBe(0);
      writeFileSync(join(folder, 'program.mjs'), program('In a Node program'));
      const ran = run(process.execPath, ['program.mjs'], folder);
      expect(ran).toMatchObject({ status: 0 });
      expect(ran.stdout.length).toBeGreaterThan(20);
      const required = run(
        process.execPath,
        ['-e', "console.log(require('cream-lm').engineInfo().torch)"],
        folder,
      );
      expect(required.stdout).toMatch(/^\d+\.\d+/);

      const other = join(work, `other${flag}`);
      mkdirSync(other);
      writeFileSync(join(other, 'version.py'), "__version__ = '2.9.9+cpu'\n");
      expect(run(process.execPath, module(load), folder, { LIBTORCH: other }).stdout).toMatch(
        /^The native addon was built for libtorch [\d.]+, and LIBTORCH \(.*\) is 2\.9\.9: name a/,
      );
    },
  );
});
