import { readFile } from 'node:fs/promises';
import type { Row } from './rows.js';
export async function isOfficialFile(_path: string): Promise<boolean> { void readFile; return false; }
export async function officialPreferences(_path: string): Promise<Row[]> { return []; }
