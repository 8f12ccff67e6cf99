/**
 * TensorBoard's event file: scalars by step. The format is TensorFlow's TFRecord (length and data,
 * each followed by its masked CRC-32C) of Event messages; see
 * tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto. No maintained npm
 * package writes it.
 */
import { GrowingFile } from './growing-file.js';
import type { MetricsRow } from './metrics-log.js';

/** One point of several curves. */
export interface ScalarEvent {
  /** Unix time in seconds. */
  time: number;
  step: number;
  values: readonly (readonly [tag: string, value: number])[];
}

/** The event file of a run, written in step with its metrics.jsonl. */
export class EventFile {
  private readonly file: GrowingFile;
  private begun = false;

  constructor(path: string) {
    this.file = new GrowingFile(path);
  }

  add(row: MetricsRow): void {
    const event = encodeEvent(eventOf(row));
    this.put(this.begun ? event : Buffer.concat([encodeVersion(row['perf/time']), event]));
    this.begun = true;
  }

  /** Cuts off bytes that belong to no row. */
  end(): void {
    this.file.end();
  }

  private put(record: Buffer): void {
    if (this.file.rest.subarray(0, record.length).equals(record)) this.file.keep(record.length);
    else this.file.write(record);
  }
}

/** The whole event file of a run with these rows of metrics.jsonl. */
export const eventFileOf = (rows: readonly MetricsRow[]): Buffer =>
  Buffer.concat([
    ...rows.slice(0, 1).map((row) => encodeVersion(row['perf/time'])),
    ...rows.map((row) => encodeEvent(eventOf(row))),
  ]);

/**
 * Columns of a step become curves of their stage, `train/loss`; those of a phase keep their names.
 */
function eventOf({ iteration, stage, step, stage_step, ...columns }: MetricsRow): ScalarEvent {
  const prefix = stage_step === undefined ? '' : `${stage}/`;
  const { 'perf/time': time, ...values } = columns;
  return {
    time,
    step,
    values: [
      ...Object.entries(values).flatMap(([column, value]) =>
        typeof value === 'number' ? [[prefix + column, value] as const] : [],
      ),
      ...(stage_step === undefined ? [] : [[`${prefix}iteration`, iteration] as const]),
    ],
  };
}

/** Event {wall_time: 1 double, step: 2 int64, summary: 5 {value: 1 {tag: 1, simple_value: 2}}} */
export function encodeEvent({ time, step, values }: ScalarEvent): Buffer {
  const summary = values.map(([tag, value]) =>
    bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), float32Field(2, value)])),
  );
  const counted = step === 0 ? [] : [varintField(2, step)];
  return record(
    Buffer.concat([doubleField(1, time), ...counted, bytesField(5, Buffer.concat(summary))]),
  );
}

/** The first record of a file: Event {wall_time: 1, file_version: 3} */
export const encodeVersion = (time: number): Buffer =>
  record(Buffer.concat([doubleField(1, time), bytesField(3, Buffer.from('brain.Event:2'))]));

/** Wire types of Protocol Buffers. */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

const key = (field: number, type: number): Buffer => varint((field << 3) | type);

const varintField = (field: number, value: number): Buffer =>
  Buffer.concat([key(field, VARINT), varint(value)]);

const bytesField = (field: number, value: Buffer): Buffer =>
  Buffer.concat([key(field, BYTES), varint(value.length), value]);

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, FIXED64), bytes]);
}

function float32Field(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, FIXED32), bytes]);
}

function record(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]);
}

/** Castagnoli's polynomial, bits reversed. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/**
 * CRC-32C, rotated and shifted so that data which contains a CRC of its own is still checked well.
 */
function maskedCrc(data: Buffer): Buffer {
  let crc = 0xffffffff;
  for (const byte of data) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return bytes;
}
