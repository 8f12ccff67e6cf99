// `npm run package`: the tarballs of a release, in build/packages/ (--out DIR). The addon of this
// machine becomes @cream-lm/<platform>, and cream-lm lists the packages of all platforms as
// optional dependencies, of which npm installs the fitting one. package.json does not list them,
// because a clone builds its own addon. --addon FILE packages an existing addon.
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildAddon, buildTypeScript } from './build.mjs';
import { root, runMain, runStep, say, SetupError } from './steps.mjs';

const SCOPE = '@cream-lm';
/** Name → the fields of package.json by which npm selects. */
const PLATFORMS = {
  'linux-x64-gnu': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-arm64-gnu': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
};

const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const writeJson = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);

/** Packs a folder into `out` and returns the tarball's path. */
function pack(folder, out) {
  const [made] = JSON.parse(
    runStep('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', out], {
      quiet: true,
      cwd: folder,
    }),
  );
  return join(out, made.filename.replace('@', '').replace('/', '-'));
}

/** The newest version of glibc and of libstdc++ whose symbols the addon uses. */
function needs(addon) {
  const text = readFileSync(addon).toString('latin1');
  return ['GLIBC', 'GLIBCXX']
    .map((name) => {
      const versions = [...text.matchAll(new RegExp(`\\b${name}_(\\d+(?:\\.\\d+)+)`, 'g'))];
      return `${name}_${
        versions
          .map((match) => match[1])
          .sort(byNumbers)
          .at(-1) ?? '0'
      }`;
    })
    .join(', ');
}

function byNumbers(a, b) {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number));
  const at = left.findIndex((number, i) => number !== right[i]);
  return at < 0 ? left.length - right.length : left[at] - (right[at] ?? -1);
}

function packPlatform(addon, out) {
  const libc = process.platform === 'linux' ? '-gnu' : '';
  const name = `${process.platform}-${process.arch}${libc}`;
  if (!PLATFORMS[name]) throw new SetupError(`There is no platform package for ${name}.`);
  const { torch, cuda } = JSON.parse(readFileSync(addon.replace(/\.node$/, '.json'), 'utf8'));
  if (cuda) throw new SetupError('A prebuilt addon is for the CPU; CUDA is built on the machine.');
  const folder = mkdtempSync(join(out, 'platform-'));
  try {
    copyFileSync(addon, join(folder, 'cream.node'));
    copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
    writeJson(join(folder, 'cream.json'), { torch, cuda });
    writeFileSync(
      join(folder, 'README.md'),
      `The native addon of cream-lm ${own.version} for ${name}, built against libtorch ${torch}. ` +
        `It needs ${needs(addon)} or newer. Install cream-lm, which uses it.\n`,
    );
    writeJson(join(folder, 'package.json'), {
      name: `${SCOPE}/${name}`,
      version: own.version,
      description: `Native addon of cream-lm for ${name}`,
      license: own.license,
      main: 'cream.node',
      files: ['cream.node', 'cream.json'],
      engines: own.engines,
      ...PLATFORMS[name],
    });
    say(`${SCOPE}/${name} needs libtorch ${torch}, ${needs(addon)}`);
    return pack(folder, out);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** cream-lm as published: with the platform packages, and without parts that only a clone uses. */
function packMain(out) {
  const work = mkdtempSync(join(out, 'main-'));
  try {
    runStep('tar', ['-xzf', pack(root, work), '-C', work]);
    const folder = join(work, 'package');
    const ofClone = ['devDependencies', 'overrides', 'allowScripts', 'scripts'];
    const published = Object.fromEntries(
      Object.entries(own).filter(([key]) => !ofClone.includes(key)),
    );
    writeJson(join(folder, 'package.json'), {
      ...published,
      optionalDependencies: Object.fromEntries(
        Object.keys(PLATFORMS).map((name) => [`${SCOPE}/${name}`, own.version]),
      ),
    });
    const tarball = pack(folder, work);
    const target = join(out, tarball.slice(dirname(tarball).length + 1));
    renameSync(tarball, target);
    return target;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

await runMain(() => {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(root, 'build/packages') },
      addon: { type: 'string' },
    },
  });
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  if (!values.addon) buildAddon({ cuda: false });
  buildTypeScript();
  for (const tarball of [
    packPlatform(resolve(values.addon ?? join(root, 'build/Release/cream.node')), out),
    packMain(out),
  ])
    console.log(tarball);
});
