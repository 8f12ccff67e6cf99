/** A stopped command ends in time, with what it must not cut off done. */
import { spawn } from 'node:child_process';
import { expect, it } from '@jest/globals';

const at = (path: string): string => new URL(`../../dist/${path}`, import.meta.url).href;

/** How a process ends that runs `code`, and what it printed. */
function end(code: string): Promise<[number | null, string | null, string]> {
  const script = `
    import { endedBySignals, endNow, leaveSoon } from '${at('cli/exit.js')}';
    import { whileHeld } from '${at('run/held.js')}';
    import { setTimeout as sleep } from 'node:timers/promises';
    const block = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    process.on('SIGINT', () => console.log('heard'));
    ${code}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  let printed = '';
  child.stdout.on('data', (text: Buffer) => {
    printed += text.toString();
    if (printed.endsWith('ready\n')) child.kill('SIGINT');
  });
  return new Promise((resolve) =>
    child.on('close', (exit, signal) => resolve([exit, signal, printed])),
  );
}

it('by the signal, even where its end would wait for a long call', async () =>
  expect(await end(`process.on('exit', () => block(50_000)); endNow('SIGINT');`)).toEqual([
    null,
    'SIGINT',
    '',
  ]));

it('although its work goes on', async () => {
  const left = `leaveSoon('SIGTERM', () => console.log('left')); await sleep(50_000);`;
  expect(await end(left)).toEqual([null, 'SIGTERM', 'left\n']);
});

it('only once what must not be cut off is done', async () => {
  const written = `
    leaveSoon('SIGINT', () => console.log('left'));
    await whileHeld(async () => { await sleep(2000); console.log('written'); });
    await sleep(50_000);`;
  expect(await end(written)).toEqual([null, 'SIGINT', 'written\nleft\n']);
});

it('at once where it reads without a pause, and hears again afterwards', async () => {
  const reading = `endedBySignals(() => { console.log('ready'); block(50_000); });`;
  expect(await end(reading)).toEqual([null, 'SIGINT', 'ready\n']);
  const read = `
    endedBySignals(() => {});
    process.on('SIGINT', () => process.exit(7));
    console.log('ready');
    await sleep(50_000);`;
  expect(await end(read)).toEqual([7, null, 'ready\nheard\n']);
});
