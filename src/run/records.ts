/**
 * The record of finished files in a folder: `records.jsonl`, one line per file with its size, its
 * SHA-256 and its number of rows. A line is appended before its file is renamed into place, so a
 * killed process leaves no file without a record. Each line also hashes the line before it, so
 * an edited, missing or swapped line shows.
 *
 * A run has one for its artefacts; a stage in progress has one for its blocks (`….parts/`) or its
 * trainer state (`training/`).
 */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync } from 'node:fs';
import { appendFile, open } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { makeDirectory, writeAtomic } from '../files/files.js';
import { digestFile, digestOf, hasRows, type Digest } from './digest.js';
import { RunError } from './errors.js';
import { readOwnText } from './own-files.js';

export const RECORDS = 'records.jsonl';

/** One file as it was written. */
export interface Entry extends Digest {
  /** Path in the folder, with `/`. */
  file: string;
  /**
   * The file was removed because the recipe keeps fewer checkpoints, or is in change until it is
   * recorded again.
   */
  pruned?: true;
}

interface Header {
  /** Identifies what the files belong to; records of something else are not used. */
  of: string;
}

/** What a file is, compared with its record: one of both. */
interface Comparison {
  damage?: string;
  entry?: Entry;
}

const chained = (before: string, value: Entry | Header): string =>
  createHash('sha256')
    .update(before + JSON.stringify(value))
    .digest('hex');

const lineOf = (value: Entry | Header, check: unknown): string =>
  `${JSON.stringify({ ...value, check })}\n`;

/** The name of `path` in the records of `folder`: relative to it, with `/`. */
export const nameIn = (folder: string, path: string): string =>
  relative(folder, path).split(sep).join('/');

/** Whether the text of records.jsonl has a line of `file`. Nothing in it is checked. */
export const hasLineOf = (text: string, file: string): boolean =>
  text.includes(`{"file":${JSON.stringify(file)},`);

/** A file of the wrong size and more bytes than this is not read to find the difference. */
const MUCH = 256 * 2 ** 20;

/**
 * The record of which files a run wrote, with their sizes and hashes: a chain of hashed lines, so
 * that a line that was changed or removed is noticed.
 */
export class Records {
  /** Lines of each file, oldest first. */
  private readonly entries = new Map<string, Entry[]>();
  /** The file of the last line, whose rename may not have happened. */
  private lastFile: string | undefined;
  /** The last change of the record that was asked for. */
  private changing: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly folder: string,
    private readonly of: string,
    /** Hash of the last line; '' before the first. */
    private last: string,
    private readonly repairs = true,
  ) {}

  /**
   * The records of `folder`, or undefined if it has none for `of`. @throws RunError if a line does
   * not match the line before it
   */
  static open(folder: string, of: string): Promise<Records | undefined> {
    return Records.read(folder, of);
  }

  /** As open(), to read only, also beside a process that adds to them: nothing is written. */
  static look(folder: string, of: string): Promise<Records | undefined> {
    return Records.read(folder, of, false);
  }

  /** As look(), whatever they belong to. */
  static lookAtAny(folder: string): Promise<Records | undefined> {
    return Records.read(folder, undefined, false);
  }

  private static async read(
    folder: string,
    of: string | undefined,
    repair = true,
  ): Promise<Records | undefined> {
    const path = join(folder, RECORDS);
    const text = await readText(path);
    if (text === undefined) return undefined;
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    const records = new Records(folder, of ?? '', '', repair);
    for (const [i, line] of whole.split('\n').slice(0, -1).entries()) {
      const { check, ...value } = parseLine(line, path, i + 1);
      if (i === 0 && of !== undefined && value.of !== undefined && value.of !== of)
        return undefined;
      const entry = value as unknown as Entry | Header;
      if (lineOf(entry, check) !== `${line}\n`) throw damagedRecord(path, i + 1);
      if (check !== chained(records.last, entry) || (i === 0) !== 'of' in entry)
        throw damagedRecord(path, i + 1);
      records.last = check;
      if ('file' in entry) records.remember(entry);
    }
    if (records.last === '') return undefined;
    // A line that was cut by a kill describes a file that was never renamed into place.
    if (repair && whole.length < text.length) await writeAtomic(path, whole);
    return records;
  }

  static async create(folder: string, of: string): Promise<Records> {
    const records = new Records(folder, of, '');
    await makeDirectory(folder);
    await writeAtomic(join(folder, RECORDS), records.line({ of }));
    return records;
  }

  /** The name of `path` in an entry. */
  nameOf(path: string): string {
    return nameIn(this.folder, path);
  }

  /** The newest entry of each file below `folder`, the path of a folder. */
  under(folder: string): Entry[] {
    const prefix = `${this.nameOf(folder)}/`;
    return this.all().filter(({ file }) => file.startsWith(prefix));
  }

  /** The newest entry of each file, in the order of their names. */
  all(): Entry[] {
    return [...this.entries.values()]
      .map((history) => history.at(-1)!)
      .sort((a, b) => (a.file < b.file ? -1 : 1));
  }

  /** The newest entry of `file`. */
  newest(file: string): Entry | undefined {
    return this.entries.get(file)?.at(-1);
  }

  add(entries: readonly Entry[]): Promise<void> {
    return this.inTurn(() => this.append(entries));
  }

  private async append(entries: readonly Entry[]): Promise<void> {
    const lines = entries.map((entry) => this.line(entry)).join('');
    const file = await open(join(this.folder, RECORDS), 'a');
    try {
      await appendFile(file, lines);
      await file.sync();
    } finally {
      await file.close();
    }
    entries.forEach((entry) => this.remember(entry));
  }

  /** Records `data` as `file`, then writes it. */
  write(file: string, data: string): Promise<void> {
    return this.inTurn(() => this.writeNow(file, data));
  }

  private async writeNow(file: string, data: string): Promise<void> {
    const bytes = Buffer.from(data);
    const digest = digestOf(bytes, hasRows(file));
    const known = this.newest(file);
    const path = join(this.folder, file);
    if (known?.sha256 === digest.sha256 && !known.pruned && existsSync(path)) {
      // A kill after the last line may have left the file that was there before.
      if ((await this.compare(file, true)).entry === known) return;
    } else await this.append([{ file, ...digest }]);
    await writeAtomic(path, bytes);
  }

  /** Withdraws the records of files that are about to change. */
  async withdraw(...files: readonly string[]): Promise<void> {
    const known = files.flatMap((file) => this.newest(file) ?? []).filter(({ pruned }) => !pruned);
    if (known.length > 0) await this.add(known.map((entry): Entry => ({ ...entry, pruned: true })));
  }

  /** Keeps only the newest entries, ordered by name, so that equal runs have equal bytes. */
  compact(): Promise<void> {
    return this.inTurn(() => this.compactNow());
  }

  /** One change at a time: a line depends on the one before, whose file is then in place. */
  private inTurn<T>(change: () => Promise<T>): Promise<T> {
    const made = this.changing.then(change, change);
    this.changing = made;
    return made;
  }

  private async compactNow(): Promise<void> {
    const entries = this.all();
    this.last = '';
    this.entries.clear();
    const text = [{ of: this.of }, ...entries].map((value) => this.line(value)).join('');
    entries.forEach((entry) => this.remember(entry));
    this.lastFile = undefined;
    const path = join(this.folder, RECORDS);
    if ((await readText(path)) !== text) await writeAtomic(path, text);
  }

  /**
   * The damage of `file`; undefined if it is as recorded. Without `content` only its size is
   * compared.
   */
  async damage(
    file: string,
    { content = true, signal }: { content?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<string | undefined> {
    return (await this.settled(file, content, signal)).damage;
  }

  /** The entry that matches `file`. @throws RunError naming a damaged file */
  async demand(
    file: string,
    remedy: string,
    { content = true, signal }: { content?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<Entry> {
    const { damage, entry } = await this.settled(file, content, signal);
    if (entry) return entry;
    throw new RunError('ERR_RUN_DATA', `${join(this.folder, file)} ${damage}: ${remedy}.`);
  }

  /**
   * Compares `file` with its record, and records the older file again where the newer one was not
   * renamed into place: once another line follows, it would count as damaged.
   */
  private async settled(file: string, content: boolean, signal?: AbortSignal): Promise<Comparison> {
    const found = await this.compare(file, content, signal);
    if (this.repairs && found.entry && found.entry !== this.newest(file))
      await this.add([found.entry]);
    return found;
  }

  private async compare(file: string, content: boolean, signal?: AbortSignal): Promise<Comparison> {
    const history = this.entries.get(file) ?? [];
    const newest = history.at(-1);
    if (!newest) return { damage: 'is not in the record of its folder' };
    const info = lstatSync(join(this.folder, file), { throwIfNoEntry: false });
    if (!info) return { damage: 'is missing' };
    if (!info.isFile()) return { damage: 'is not a regular file' };
    // The rename of the last line's file may not have happened; the older one is then in place.
    const possible = file === this.lastFile ? history.slice(-2).reverse() : [newest];
    const sized = possible.find(({ bytes }) => bytes === info.size);
    if (!content && sized) return { entry: sized };
    // Reading gigabytes in place of a small file would take too long.
    if (!sized && info.size > 4 * newest.bytes + MUCH)
      return { damage: difference(newest, { file, bytes: info.size, sha256: '' }) };
    const now = await digestFile(join(this.folder, file), signal);
    const entry = possible.find(({ sha256 }) => sha256 === now.sha256);
    return entry ? { entry } : { damage: difference(newest, { file, ...now }) };
  }

  private line(value: Entry | Header): string {
    this.last = chained(this.last, value);
    return lineOf(value, this.last);
  }

  private remember(entry: Entry): void {
    const history = this.entries.get(entry.file);
    if (history) history.push(entry);
    else this.entries.set(entry.file, [entry]);
    this.lastFile = entry.file;
  }
}

function difference(recorded: Entry, now: Entry): string {
  if (recorded.rows !== undefined && now.rows !== undefined && recorded.rows !== now.rows)
    return `is damaged: it has ${now.rows} rows, but ${recorded.rows} were written`;
  if (recorded.bytes !== now.bytes)
    return `is damaged: it has ${now.bytes} bytes, but ${recorded.bytes} were written`;
  return (
    `is damaged: its SHA-256 is ${now.sha256.slice(0, 12)}…, and it was written with ` +
    `${recorded.sha256.slice(0, 12)}…`
  );
}

async function readText(path: string): Promise<string | undefined> {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (!info) return undefined;
  if (!info.isFile())
    throw new RunError('ERR_RUN_DATA', `${path} is not a regular file: ${RECORD_REMEDY}.`);
  return readOwnText(path);
}

function parseLine(line: string, path: string, number: number): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // the sentence below
  }
  throw damagedRecord(path, number);
}

const RECORD_REMEDY =
  'restore it from a copy, or, if the other files are known to be good, record them again ' +
  'with `cream verify --accept` (a folder `….parts` or `training` can simply be removed)';

const damagedRecord = (path: string, line: number): RunError =>
  new RunError(
    'ERR_RUN_DATA',
    `${path} is damaged: line ${line} does not fit the lines before it. To go on, ` +
      `${RECORD_REMEDY}.`,
  );
