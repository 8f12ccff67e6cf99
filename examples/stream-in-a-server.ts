/**
 * A chat endpoint: the text is sent while it is generated, and a client that disconnects stops its
 * generation.
 *
 *   node examples/stream-in-a-server.ts [model] [port] (Node ≥ 22.18; before that: npx tsx
 *   examples/…)
 *   curl -N localhost:8080 -d 'Why is the sky blue?'
 *   curl -N 'localhost:8080?seed=7' -d …   the same text each time
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { loadModel } from 'cream-lm';

const [model = 'smollm2-135m-instruct', port = '8080'] = process.argv.slice(2);
const lm = await loadModel(model);

const server = createServer((request, response) => {
  // A request that fails must not end the server.
  answer(request, response).catch(() => response.destroy());
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const left = new AbortController();
  response.on('close', () => left.abort());
  try {
    response.setHeader('content-type', 'text/plain; charset=utf-8');
    const seed = new URL(request.url ?? '', 'http://localhost').searchParams.get('seed');
    for await (const chunk of lm.stream(await text(request), {
      maxNewTokens: 200,
      temperature: 0.7,
      ...(seed !== null && { seed: BigInt(seed) }),
      signal: left.signal,
    }))
      response.write(chunk);
    response.end();
  } catch (error) {
    if (left.signal.aborted) return; // the client has disconnected
    if (response.headersSent)
      response.destroy(); // a part was sent: the client sees the end cut off
    else response.writeHead(500).end((error as Error).message);
  }
}

server.listen(Number(port), () => {
  const address = server.address();
  console.log(`listening on ${typeof address === 'object' && address ? address.port : port}`);
});
process.once('SIGTERM', () => server.close(() => void lm.dispose()));
