/** Temporary folders of tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made: string[] = [];

/** Makes a temporary folder, which is removed when the process ends. */
export function temporaryFolder(name = 'cream-test-'): string {
  const folder = mkdtempSync(join(tmpdir(), name));
  if (made.length === 0)
    process.once('exit', () => {
      for (const path of made) rmSync(path, { recursive: true, force: true });
    });
  made.push(folder);
  return folder;
}
