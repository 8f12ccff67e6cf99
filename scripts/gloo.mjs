// Finds the headers of Gloo, which the build needs for a run in several processes; the code is in
// libtorch. In order:
//   CREAM_GLOO   a folder with include/gloo or usr/include/gloo
//   the system   /usr/include, /usr/local/include (Debian and Ubuntu: apt-get install libgloo-dev)
//   the cache    <cache>/gloo, unpacked from Debian's package, for which no rights are needed
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDir, probe, runStep, say, SetupError } from './steps.mjs';

const HEADER = 'gloo/rendezvous/store.h';
const cached = () => join(cacheDir(), 'gloo');

/** → the folder below which gloo/ lies, or null. @throws SetupError if CREAM_GLOO has none. */
export function findGloo() {
  const given = process.env.CREAM_GLOO;
  const below = (folder) => ['include', 'usr/include'].map((path) => join(folder, path));
  const folders = given
    ? [given, ...below(given)]
    : ['/usr/include', '/usr/local/include', ...below(cached())];
  const found = folders.find((folder) => existsSync(join(folder, HEADER))) ?? null;
  if (given && found === null)
    throw new SetupError(
      `CREAM_GLOO (${given}) has no include/${HEADER}; set it to another folder.`,
    );
  return found;
}

/** findGloo(), or else the headers that apt can fetch; null, with advice, if there are none. */
export function fetchGloo() {
  const found = findGloo();
  if (found !== null) return found;
  const tools = ['apt-get', 'dpkg'].every((tool) => probe(tool, ['--version']) !== null);
  if (tools && unpack()) return findGloo();
  say(
    'building without Gloo, so a run uses one process: its headers are not there (on Debian and ' +
      'Ubuntu: apt-get install libgloo-dev; elsewhere set CREAM_GLOO)',
  );
  return null;
}

/** apt checks the package's signature. */
function unpack() {
  mkdirSync(cacheDir(), { recursive: true });
  const work = mkdtempSync(join(cacheDir(), 'gloo-download-'));
  try {
    const limits = [
      'Acquire::Retries=0',
      'Acquire::http::Timeout=10',
      'Acquire::https::Timeout=10',
    ];
    const options = limits.flatMap((limit) => ['-o', limit]);
    const quiet = { quiet: true, silent: true, cwd: work };
    runStep('apt-get', [...options, 'download', 'libgloo-dev'], quiet);
    const file = readdirSync(work).find((name) => name.endsWith('.deb'));
    runStep('dpkg', ['-x', file, 'gloo'], quiet);
    rmSync(cached(), { recursive: true, force: true });
    renameSync(join(work, 'gloo'), cached());
    say(`fetched Gloo's headers (${file}) for runs in several processes`);
    return true;
  } catch (error) {
    if (error instanceof SetupError) return false;
    throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
