/**
 * A checking reader of Thrift's compact protocol: hyparquet trusts list lengths and nesting, which
 * a hostile footer can set to anything. A footer that passes here is safe to decode.
 * (thrift-compact-protocol.md of Apache Thrift)
 */

/** A struct: its fields by number. Integers are numbers, binaries the bytes. */
export interface Struct {
  [field: number]: Value;
}
export type Value = boolean | number | Uint8Array | Value[] | Struct;

const MAX_DEPTH = 48;

/** The struct at `offset` of `bytes`, and its end. @throws Error */
export function readStruct(bytes: Uint8Array, offset = 0): { value: Struct; end: number } {
  const reader = new Reader(bytes, offset);
  return { value: reader.struct(0), end: reader.at };
}

class Reader {
  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
  ) {}

  struct(depth: number): Struct {
    if (depth > MAX_DEPTH) throw new Error('its header is nested too deeply');
    const value: Struct = {};
    for (let field = 0; ;) {
      const byte = this.byte();
      const type = byte & 15;
      if (type === 0) return value;
      field = byte >> 4 ? field + (byte >> 4) : this.zigzag();
      value[field] = this.value(type, depth);
    }
  }

  private value(type: number, depth: number): Value {
    switch (type) {
      case 1:
        return true;
      case 2:
        return false;
      case 3:
        return this.byte();
      case 4:
      case 5:
      case 6:
        return this.zigzag();
      case 7:
        this.skip(8);
        return 0; // no double is needed here
      case 8: {
        const length = this.varint();
        const start = this.at;
        this.skip(length);
        return this.bytes.subarray(start, this.at);
      }
      case 9:
        return this.list(depth);
      case 12:
        return this.struct(depth + 1);
      default:
        throw new Error(`its header holds the unknown type ${type}`);
    }
  }

  private list(depth: number): Value[] {
    if (depth > MAX_DEPTH) throw new Error('its header is nested too deeply');
    const byte = this.byte();
    const type = byte & 15;
    const length = byte >> 4 === 15 ? this.varint() : byte >> 4;
    // Every element has at least one byte.
    if (length > this.bytes.length - this.at)
      throw new Error(`its header claims a list of ${length} entries`);
    return Array.from({ length }, () =>
      type <= 2 ? this.byte() === 1 : this.value(type, depth + 1),
    );
  }

  private byte(): number {
    if (this.at >= this.bytes.length) throw new Error('its header is cut off');
    return this.bytes[this.at++]!;
  }

  private skip(length: number): void {
    if (length > this.bytes.length - this.at) throw new Error('its header is cut off');
    this.at += length;
  }

  /** Unsigned; inexact beyond 2^53, which no valid size or count reaches. */
  private varint(): number {
    for (let value = 0, shift = 0; shift < 70; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error('its header holds a number of more than 64 bits');
  }

  private zigzag(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
