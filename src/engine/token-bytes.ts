/** The vocabulary as bytes, which a generation needs for stop strings. */
import { invalid, kindOf, property } from './arguments.js';
import type { Field } from './fields.js';

/** The bytes of token i are `bytes[offsets[i]]` up to but without `bytes[offsets[i + 1]]`. */
export interface TokenBytes {
  bytes: Uint8Array;
  offsets: Uint32Array;
}

export const tokenBytes: Field<TokenBytes, TokenBytes> = {
  check: (value) => {
    const [bytes, offsets] = [property(value, 'bytes'), property(value, 'offsets')];
    if (kindOf(bytes) !== 'Uint8Array' || kindOf(offsets) !== 'Uint32Array') {
      throw invalid(
        '[generate] tokenBytes must hold bytes, a Uint8Array, and offsets, a Uint32Array, as ' +
          'the tokenizer makes them.',
      );
    }
    return { bytes: bytes as Uint8Array, offsets: offsets as Uint32Array };
  },
};
