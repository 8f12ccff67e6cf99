/**
 * Values of Parquet columns in the form that JSON would give them. Decimals and times of day, which
 * the decoder turns into rounded or bare numbers, are decoded as they are stored and written out.
 */
import type { FileMetaData, SchemaElement } from 'hyparquet';

/** A value in the form that JSON would give it. */
export function plain(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return exact(String(value));
  if (typeof value !== 'object' || value instanceof Uint8Array) return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value))
    return Array.from(value as unknown as ArrayLike<unknown>, (item) => plain(item));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

/** A number that holds the digits exactly, or the digits as text: two long ids stay apart. */
function exact(digits: string): number | string {
  const number = Number(digits);
  const short = digits.replace(/\D/g, '').replace(/^0+/, '').length <= 15;
  return short || (!digits.includes('.') && Number.isSafeInteger(number)) ? number : digits;
}

const isTime = ({ converted_type: type, logical_type: logical }: SchemaElement): boolean =>
  type === 'TIME_MILLIS' || type === 'TIME_MICROS' || logical?.type === 'TIME';

/** `metadata` in which decimals are what they are stored as. */
export const withoutDecimals = (metadata: FileMetaData): FileMetaData => ({
  ...metadata,
  schema: metadata.schema.map(({ converted_type: type, ...element }): SchemaElement => {
    if (type === undefined || type === 'DECIMAL') return element;
    return { ...element, converted_type: type };
  }),
});

/** The reader of values of a top-level column without parts; `plain` for all others. */
export function readerOf(schema: readonly SchemaElement[], column: string): typeof plain {
  const element = schema.find(({ name, num_children }) => name === column && !num_children);
  if (element === undefined) return plain;
  const given = (read: (value: unknown) => unknown) => (value: unknown) =>
    value === undefined || value === null || Array.isArray(value) ? plain(value) : read(value);
  if (element.converted_type === 'DECIMAL')
    return given((value) => decimal(value, element.scale ?? 0));
  if (isTime(element)) return given((value) => timeOfDay(value as number | bigint, element));
  if (element.type === 'FLOAT') return given((value) => shortest(value as number));
  return plain;
}

function decimal(value: unknown, scale: number): number | string {
  const unscaled =
    value instanceof Uint8Array
      ? BigInt.asIntN(8 * value.length, BigInt(`0x${Buffer.from(value).toString('hex') || '0'}`))
      : BigInt(value as number | bigint);
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  const at = digits.length - scale;
  const sign = unscaled < 0n ? '-' : '';
  return exact(sign + digits.slice(0, at) + (scale > 0 ? `.${digits.slice(at)}` : ''));
}

function timeOfDay(
  value: number | bigint,
  { converted_type, logical_type }: SchemaElement,
): string {
  const unit = logical_type?.type === 'TIME' ? logical_type.unit : undefined;
  const perSecond =
    unit === 'NANOS'
      ? 10n ** 9n
      : (unit ?? converted_type)?.endsWith('MICROS')
        ? 1_000_000n
        : 1000n;
  const [seconds, rest] = [BigInt(value) / perSecond, BigInt(value) % perSecond];
  const clock = [seconds / 3600n, (seconds / 60n) % 60n, seconds % 60n]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  const fraction = String(rest)
    .padStart(String(perSecond).length - 1, '0')
    .replace(/0+$/, '');
  return fraction === '' ? clock : `${clock}.${fraction}`;
}

/** The shortest decimal number that is this float32, as Python and pandas print it. */
function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
