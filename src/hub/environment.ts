/**
 * The environment's settings for the hub, under the names that Python's huggingface_hub reads:
 * HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE; and the proxies.
 */
import { join } from 'node:path';
import { xdgCache, type Environment } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { readText } from '../files/read.js';

/** Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids all requests. */
export function isOffline(env: Environment = process.env): boolean {
  return [env['HF_HUB_OFFLINE'], env['TRANSFORMERS_OFFLINE']].some((value) =>
    /^(1|true|yes|on)$/i.test(value ?? ''),
  );
}

/**
 * The hub's address without a slash at its end. @throws ModelError, which never shows a password
 */
export function endpointOf(env: Environment): string {
  const given = env['HF_ENDPOINT'] || 'https://huggingface.co';
  const url = URL.canParse(given) ? new URL(given) : null;
  if (!url || !/^https?:$/.test(url.protocol))
    throw new ModelError(
      'ERR_NETWORK',
      'HF_ENDPOINT is not an http or https address; set it to one such as https://huggingface.co.',
    );
  if (url.username !== '' || url.password !== '')
    throw new ModelError(
      'ERR_NETWORK',
      'HF_ENDPOINT holds a user name or password, which would be shown in logs; leave them out ' +
        'and set HF_TOKEN.',
    );
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

/**
 * The user's token, or null. @throws ModelError if it cannot be a token; the token is never shown
 */
export async function readToken(env: Environment): Promise<string | null> {
  const direct = env['HF_TOKEN'] || env['HUGGING_FACE_HUB_TOKEN'];
  const file = env['HF_TOKEN_PATH'] || join(hfHome(env), 'token');
  const token = (direct || (await readText(file, 'record').catch(() => ''))).trim();
  if (token === '') return null;
  if (/^[\x21-\x7e]{1,1000}$/.test(token)) return token;
  throw new ModelError(
    'ERR_GATED',
    `${direct ? 'HF_TOKEN' : file} holds something that cannot be a token (a blank, a line ` +
      'break or a letter outside ASCII within it); copy the token again from the hub.',
  );
}

/** The cache folder of the hub's repositories. */
export function hubCache(env: Environment): string {
  return env['HF_HUB_CACHE'] || join(hfHome(env), 'hub');
}

function hfHome(env: Environment): string {
  return env['HF_HOME'] || join(xdgCache(env), 'huggingface');
}

/** The proxies by curl's rules: the lower-case name takes precedence. */
export function proxiesOf(env: Environment): { http: string; https: string; not: string } {
  const either = (name: string): string => env[name] || env[name.toUpperCase()] || '';
  return { http: either('http_proxy'), https: either('https_proxy'), not: either('no_proxy') };
}
