/** Iterators over work in progress that end with it when their reader leaves. */

/**
 * `values` as an iterator whose return() and throw() call `leave` at once: also before the first
 * next(), when the code of a generator would not run, and while a next() is pending, for which
 * return() of a generator would wait.
 */
export function leavable<T>(
  values: AsyncGenerator<T, void, undefined>,
  leave: () => unknown,
): AsyncGenerator<T, void, undefined> {
  const end = async (ending: () => Promise<IteratorResult<T, void>>) => {
    const left = leave();
    const result = await ending();
    await left;
    return result;
  };
  return {
    next: () => values.next(),
    return: () => end(() => values.return()),
    throw: (error: unknown) => end(() => values.throw(error)),
    [Symbol.asyncIterator]() {
      return this;
    },
    [Symbol.asyncDispose]: async () => void (await end(() => values.return())),
  };
}
