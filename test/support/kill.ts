/** Kills a run, as by kill -9, at a change of its files, however busy the machine is. */

/** The environment of a run that is killed before its `at`-th change of a path that matches. */
export const killBefore = (at: number, path = /./): NodeJS.ProcessEnv => ({
  NODE_OPTIONS: `--import ${new URL('kill-preload.mjs', import.meta.url).href}`,
  CREAM_TEST_KILL_AT: String(at),
  CREAM_TEST_KILL_PATH: path.source,
});
