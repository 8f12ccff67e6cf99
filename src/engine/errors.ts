/**
 * Errors of the engine. `code` is for programs and stays the same between versions; the message is
 * one sentence for people.
 */

/** Codes of CreamError. */
export type CreamErrorCode =
  | 'ERR_INVALID_ARGUMENT' // the caller passed something impossible
  | 'ERR_INVALID_FILE' // bytes on disk are not what they claim
  | 'ERR_UNSUPPORTED' // a valid model or request that this build cannot run
  | 'ERR_NOT_FOUND' // a file that is not there
  | 'ERR_IO' // the operating system refused: disk full, permission
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_NON_FINITE' // NaN or infinity in a loss, gradient or log-prob
  | 'ERR_ABORTED' // stopped without an AbortSignal: its iterator was closed
  | 'ERR_DISPOSED' // used after dispose()
  | 'ERR_ADDON' // the native addon is missing or does not load
  | 'ERR_INTERNAL'; // a bug in cream-lm

/** An error of the engine. */
export class CreamError extends Error {
  readonly code: CreamErrorCode;

  constructor(code: CreamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CreamError';
    this.code = code;
  }
}

/**
 * The value that the addon throws and rejects with. It is a plain object, because a worker thread
 * has no JavaScript stack.
 */
interface NativeFailure {
  code: CreamErrorCode;
  message: string;
}

function isNativeFailure(value: unknown): value is NativeFailure {
  return (
    typeof value === 'object' &&
    value !== null &&
    !(value instanceof Error) &&
    'code' in value &&
    'message' in value
  );
}

/**
 * Turns a native failure into a CreamError with the stack of `caller`, an Error made where the user
 * called the API: the failure itself happens later, on another thread. Any other value is returned
 * as it is.
 */
export function fromNative(failure: unknown, caller: Error): unknown {
  if (!isNativeFailure(failure)) return failure;
  const error = new CreamError(failure.code, failure.message);
  const frames = caller.stack?.indexOf('\n    at ') ?? -1;
  if (frames >= 0) error.stack = `${error.name}: ${error.message}${caller.stack!.slice(frames)}`;
  return error;
}
