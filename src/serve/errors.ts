/** Errors of a request, in the form that OpenAI's clients expect. */
import type { ContentfulStatusCode } from 'hono/utils/http-status';

export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

/** A request that is refused; `param` names the field. */
export class RequestError extends Error {
  constructor(
    readonly status: ContentfulStatusCode,
    message: string,
    readonly param: string | null = null,
    readonly code: string | null = null,
  ) {
    super(message);
    this.name = 'RequestError';
  }
}

/** Status and body of an error: 4xx if the request is wrong, otherwise 5xx. */
export function errorBody(error: unknown): { status: ContentfulStatusCode; body: ErrorBody } {
  if (error instanceof RequestError) {
    const { status, message, param, code } = error;
    const type = status >= 500 ? 'server_error' : 'invalid_request_error';
    return { status, body: { error: { message, type, param, code } } };
  }
  const { message, code, name } = error as Error & { code?: unknown };
  const refused = code === 'ERR_INVALID_ARGUMENT' || name === 'TextError';
  return {
    status: refused ? 400 : 500,
    body: {
      error: {
        message,
        type: refused ? 'invalid_request_error' : 'server_error',
        param: name === 'TextError' ? 'messages' : null,
        code: typeof code === 'string' ? code : null,
      },
    },
  };
}
