/**
 * Reads a run directory for a report. Reports are needed most for runs that stopped half-way, so no
 * content makes these functions throw: a missing file has no rows, and damaged lines are left out
 * and counted.
 */
import { existsSync, readdirSync } from 'node:fs';
import { isForbidden, readRegularSync, type FileError } from '../files/read.js';
import { basename, join } from 'node:path';
import { ARTEFACT_COLUMNS, type Columns } from '../data/columns.js';
import { checkRecord, DataError, parseJsonl } from '../data/jsonl.js';

export type Row = Record<string, unknown>;

/** A run directory as a report reads it. */
export class RunFolder {
  /**
   * Start offsets of damaged lines by file, so that lines of a file that is read twice are counted
   * once.
   */
  readonly damaged = new Map<string, Set<number>>();

  constructor(readonly path: string) {}

  /**
   * Rows of a JSONL file, reduced by `keep` while they are read, because the completions of a long
   * run do not fit in memory.
   */
  rows<T>(file: string, keep: (row: Row) => T | undefined): T[] {
    const bytes = this.#bytes(file);
    const rows: T[] = [];
    for (let start = 0; bytes && start < bytes.length;) {
      const newline = bytes.indexOf(0x0a, start);
      const end = newline === -1 ? bytes.length : newline;
      const kept = this.#row(bytes.subarray(start, end), file, keep);
      if (kept === 'damaged')
        this.damaged.set(file, (this.damaged.get(file) ?? new Set<number>()).add(start));
      else if (kept !== 'blank') rows.push(kept.row);
      start = end + 1;
    }
    return rows;
  }

  /**
   * Rows of an artefact of a phase, with the columns checked as in the run itself, reduced by
   * `keep`.
   */
  records<T extends object, Kept = T>(
    phase: string,
    name: string,
    keep: (record: T) => Kept = (record) => record as unknown as Kept,
  ): Kept[] {
    const columns = ARTEFACT_COLUMNS[basename(name)] as Columns<T>;
    return this.rows(`${phase}/${name}`, (value) =>
      keep(checkRecord({ value, where: name, number: 0 }, columns)),
    );
  }

  /** A JSON file's object, or {}. */
  object(file: string): Row {
    try {
      const value: unknown = JSON.parse(this.text(file));
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? (value as Row)
        : {};
    } catch {
      return {};
    }
  }

  text(file: string): string {
    return this.#bytes(file)?.toString('utf8') ?? '';
  }

  has(file: string): boolean {
    return existsSync(join(this.path, file));
  }

  /** Numbers t of the folders iteration-t, ascending. */
  iterations(): number[] {
    const names = existsSync(this.path) ? readdirSync(this.path) : [];
    return names
      .flatMap((name) => /^iteration-(\d{1,6})$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
  }

  #bytes(file: string): Buffer | undefined {
    try {
      return readRegularSync(join(this.path, file), 'run');
    } catch (error) {
      const { code, reason } = error as FileError;
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      const why = isForbidden({ code })
        ? reason
        : `${reason.split(';')[0]!}; bring this file of the run back from a copy`;
      throw new DataError(`cannot read ${join(this.path, file)}: ${why}`, { cause: error });
    }
  }

  #row<T>(
    bytes: Buffer,
    file: string,
    keep: (row: Row) => T | undefined,
  ): { row: T } | 'blank' | 'damaged' {
    try {
      const line = parseJsonl(bytes, file)[0];
      if (line === undefined) return 'blank';
      const row = keep(line.value);
      return row === undefined ? 'damaged' : { row };
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      return 'damaged';
    }
  }
}

export const number = (row: Row, column: string): number | undefined =>
  Number.isFinite(row[column]) ? (row[column] as number) : undefined;
export const string = (row: Row, column: string): string | undefined =>
  typeof row[column] === 'string' ? row[column] : undefined;
export const numbers = (row: Row, column: string): number[] | undefined => {
  const value = row[column];
  return Array.isArray(value) && value.every(Number.isFinite) ? (value as number[]) : undefined;
};

const isTurn = (turn: unknown): turn is { content: string; role?: unknown } =>
  typeof turn === 'object' && turn !== null && typeof (turn as Row)['content'] === 'string';

/** Text of a list of messages with their roles; '' for anything else. */
export function conversationText(value: unknown): string {
  if (!Array.isArray(value)) return '';
  const turns = value.filter(isTurn);
  return turns
    .map((turn) => (turns.length === 1 ? turn.content : `${String(turn.role)}: ${turn.content}`))
    .join('\n\n');
}
