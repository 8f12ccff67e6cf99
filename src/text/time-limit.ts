/**
 * A time limit for untrusted code (a chat template, a splitter's regular expression), which may
 * loop without end; V8 stops it.
 */
import { createContext, Script } from 'node:vm';

/** The limit where the work is small. */
export const LIMIT_MS = 2_000;

const workCall = new Script('work()');
const context = createContext({ work: undefined as (() => unknown) | undefined });

/**
 * Returns or throws the result of `work`; throws an Error naming the limit if it ran for more than
 * `milliseconds`. Costs about 0.1 ms.
 */
export function withTimeLimit<T>(work: () => T, milliseconds = LIMIT_MS): T {
  const before = context['work'] as unknown;
  context['work'] = work;
  try {
    return workCall.runInContext(context, { timeout: Math.ceil(milliseconds) }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new Error(`it ran for more than ${Math.round(milliseconds / 1000)} s`);
    throw error;
  } finally {
    context['work'] = before;
  }
}
