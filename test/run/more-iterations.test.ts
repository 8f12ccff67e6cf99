/** A finished run that continues with more iterations, and the checkpoints that it keeps. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts, cream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';

const SETTINGS = ['prompts.split=resample', 'sft.enabled=true', 'sft.count=4', 'sft.batch_size=2'];

describe('more iterations of a finished run', () => {
  it('end with the bytes of a run that was asked for all at once', async () => {
    const short = await tinyRun([...SETTINGS, 'iterations=2']);
    // Stopped on the way: the run that goes on is asked for the same iterations as the one before.
    const stop = new AbortController();
    const stopped = tinyRun([...SETTINGS, 'iterations=4'], {
      directory: short.directory,
      signal: stop.signal,
      onEvent: ({ type }) => void (type === 'step' && stop.abort()),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(existsSync(join(short.directory, 'summary.json'))).toBe(false);
    await tinyRun([...SETTINGS, 'iterations=4'], { directory: short.directory });
    const long = await tinyRun([...SETTINGS, 'iterations=4']);
    expect(artefacts(short.directory)).toEqual(artefacts(long.directory));
    const kept = [1, 2, 3, 4].map((t) =>
      existsSync(join(long.directory, `iteration-${t}/checkpoint`)),
    );
    expect(kept).toEqual([false, false, true, true]);
    expect(existsSync(join(long.directory, 'sft/checkpoint'))).toBe(true);

    const verified = await cream('verify', long.directory);
    expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining('as they were') });
    rmSync(join(long.directory, 'iteration-2/scores.jsonl'));
    expect(await cream('verify', long.directory)).toMatchObject({
      code: 1,
      stdout: 'iteration-2/scores.jsonl is missing: run the same command again to make it again\n',
    });
  });

  it('are refused where the finished ones would have used other prompts', async () => {
    const { directory } = await tinyRun(['iterations=1']);
    await expect(tinyRun(['iterations=2'], { directory })).rejects.toMatchObject({
      code: 'ERR_RUN_MISMATCH',
      message: expect.stringContaining('iteration 1 would have used other prompts'),
    });
  });
});
