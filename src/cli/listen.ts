/** Serves HTTP until the command is stopped. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Hono } from 'hono';

/** Time in which open streams can send their last event. */
const LAST_WORDS_MS = 200;

export interface Address {
  host: string;
  port: number;
}

/** `onListening` is called with the address that is listened on. @throws Error if it is taken */
export async function listen(
  app: Hono,
  { host, port }: Address,
  signal: AbortSignal,
  onListening: (url: string) => void,
): Promise<void> {
  // Imported here, so that no other command loads the web framework.
  const { serve } = await import('@hono/node-server');
  const server = serve({ fetch: app.fetch, hostname: host, port });
  try {
    await once(server, 'listening', { signal }).catch((error: unknown) => {
      throw explained(error, host, port);
    });
    const bound = server.address() as AddressInfo;
    const name = bound.address.includes(':') ? `[${bound.address}]` : bound.address;
    onListening(`http://${name}:${bound.port}`);
    if (!signal.aborted) await once(signal, 'abort');
  } finally {
    const closed = new Promise((resolve) => server.close(resolve));
    await Promise.race([closed, sleep(LAST_WORDS_MS)]);
    if ('closeAllConnections' in server) server.closeAllConnections();
  }
}

function explained(error: unknown, host: string, port: number): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    EADDRINUSE: `port ${port} is in use; choose another with --port (0 takes a free one)`,
    EACCES: `port ${port} is not allowed; choose another with --port (0 takes a free one)`,
    EADDRNOTAVAIL: 'this machine has no such address; choose another with --host',
    ENOTFOUND: 'there is no such address; choose another with --host',
  };
  const reason = reasons[code ?? ''];
  return reason === undefined
    ? error
    : new Error(`Cannot listen on ${host}: ${reason}.`, { cause: error });
}
