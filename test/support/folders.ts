/** Temporary folders of tests. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

declare global {
  /** The folders of one test file, which its environment removes (environment.mjs). */
  var temporaryFolders: string[];
}

/** Makes a temporary folder, which is removed when the test file ends. */
export function temporaryFolder(name = 'cream-test-'): string {
  const folder = mkdtempSync(join(tmpdir(), name));
  globalThis.temporaryFolders.push(folder);
  return folder;
}
