/** Which models of a run are in memory. */
import { expect, it } from '@jest/globals';
import { cpSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { engineInfo } from '../../src/engine/addon.js';
import { Models } from '../../src/run/models.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

it('keeps no weights of θ_0 for its tokenizer alone, and loads them once they score', async () => {
  const base = tinyModel({ tokenizer: true });
  const trained = join(temporaryFolder('cream-models-'), 'checkpoint');
  cpSync(base, trained, { recursive: true });
  const { signal } = new AbortController();
  const models = new Models({ base, name: base, dtype: 'float32', device: 'cpu', signal });
  const before = engineInfo().weightBytes;
  const inMemory = () => engineInfo().weightBytes - before;

  const policy = await models.policy(trained);
  const one = inMemory();
  expect(one).toBe(4 * policy.model.config.parameters);
  expect((await policy.encodePrompt([{ role: 'user', content: 'one' }])).length).toBeGreaterThan(0);
  await models.model(base);
  expect(inMemory()).toBe(2 * one);
  await models.keep([trained]);
  expect(inMemory()).toBe(one);
  await models.beginTraining(trained);
  await models.dispose();
  await policy.model.dispose();
  expect(inMemory()).toBe(0);
});

it('a base model that cannot be loaded is tried again, and only the caller fails', async () => {
  const base = tinyModel({ tokenizer: true });
  const away = join(temporaryFolder('cream-models-'), 'away');
  renameSync(base, away);
  const { signal } = new AbortController();
  const models = new Models({ base, name: base, dtype: 'float32', device: 'cpu', signal });
  await expect(models.policy(base)).rejects.toThrow(base);
  // An unhandled rejection would end this process now.
  await new Promise((resolve) => setImmediate(resolve));
  renameSync(away, base);
  const policy = await models.policy(base);
  expect(policy.model.config.parameters).toBeGreaterThan(0);
  await models.dispose();
});
