/**
 * Compares the tables of src/engine/requests.ts with native/binding/convert.cc and the settings of
 * native/support/types.h that it reads: a field that one of them describes and the other does not
 * read fails here, and so does a new reader without a table.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { MOST_SEQS } from '../../src/engine/plan.js';
import * as requests from '../../src/engine/requests.js';

const native = (file: string): string =>
  readFileSync(resolve(import.meta.dirname, '../../native', file), 'utf8');
const source = native('binding/convert.cc');
const types = native('support/types.h');

/** Bodies of the functions that take a JavaScript value, by name. */
const bodies = new Map(
  [
    ...source.matchAll(/^\S.* (to_\w+)\(const Napi::\w+& \w+(?:, \w+& \w+)?\) \{\n([\s\S]*?)^\}/gm),
  ].map(([, name, body]) => [name!, body!]),
);

/** Names that each_form() or each_setting() of types.h lists. */
function listed(name: string): string[] {
  const body = new RegExp(`void ${name}\\([\\s\\S]*?^\\}`, 'm').exec(types)![0];
  return [
    ...[...body.matchAll(/field\("(\w+)"/g)].map(([, field]) => field!),
    ...(body.includes('  each_form(') ? listed('each_form') : []),
  ];
}

/** Names that a function reads of each object, by the C++ variable that holds the object. */
function reads(name: string): Record<string, string[]> {
  const found: Record<string, Set<string>> = {};
  const add = (variable: string, field: string): unknown =>
    (found[variable] ??= new Set()).add(field);
  const body = bodies.get(name)!;
  // number(from, "beta"), is_named(from, "stage", "train"); each(value, "pairs") names no field
  for (const [, variable, field] of body.matchAll(/\((?!(?:value|item|tokens),)(\w+), "(\w+)"/g))
    add(variable!, field!);
  for (const [, variable, field] of body.matchAll(/(\w+)\.Get\("(\w+)"\)/g)) add(variable!, field!);
  for (const [, helper, variable] of body.matchAll(/(to_\w+)\((\w+)\)/g))
    if (bodies.has(helper!))
      for (const field of reads(helper!)['from'] ?? []) add(variable!, field);
  for (const [, list, variable] of body.matchAll(
    /(each_\w+)\([\w.]+(?:\(\))?, FieldReader\{(\w+)\}\)/g,
  ))
    for (const field of listed(list!)) add(variable!, field);
  return Object.fromEntries(
    Object.entries(found).map(([variable, fields]) => [variable, [...fields].sort()]),
  );
}

const names = (fields: object): string[] => Object.keys(fields).sort();

/** Every function that reads fields, with the table of each object that it reads. */
const TABLES: Record<string, Record<string, string[]>> = {
  to_generation_request: {
    from: names(requests.GENERATION_FIELDS),
    prompt: names(requests.PROMPT_FIELDS),
  },
  to_token_bytes: { table: ['bytes', 'offsets'] },
  to_scoring_request: {
    from: names(requests.SCORING_FIELDS),
    group: names(requests.GROUP_FIELDS),
  },
  to_classification_request: { from: names(requests.CLASSIFICATION_FIELDS) },
  to_trainer_params: { from: names(requests.TRAINER_FIELDS) },
  to_lora_params: { from: names(requests.LORA_FIELDS) },
  to_plan_request: { from: names(requests.PLAN_FIELDS) },
  to_pairs: { pair: names(requests.PAIR_FIELDS) },
  to_examples: { example: names(requests.EXAMPLE_FIELDS) },
};

describe('the boundary', () => {
  it('has a table for every function that reads fields', () => {
    const readers = [...bodies.keys()].filter((name) => Object.keys(reads(name)).length > 0);
    expect(readers.sort()).toEqual(Object.keys(TABLES).sort());
  });

  it.each(Object.entries(TABLES))('%s reads the fields of its table', (name, tables) => {
    expect(reads(name)).toEqual(tables);
  });
});

describe('native defaults', () => {
  const valueOf = (text: string, name: string): number =>
    Number(new RegExp(`\\b${name} = ([\\d.]+);`).exec(text)![1]);

  it('of a request are those of src/engine/requests.ts', () => {
    const { temperature, topP, topK, minNewTokens, maxNewTokens } = requests.GENERATION_FIELDS;
    expect({
      temperature: valueOf(types, 'temperature'),
      topP: valueOf(types, 'top_p'),
      topK: valueOf(types, 'top_k'),
      minNewTokens: valueOf(types, 'min_new_tokens'),
      maxNewTokens: valueOf(types, 'max_new_tokens'),
    }).toEqual({
      temperature: temperature.default({}),
      topP: topP.default({}),
      topK: topK.default({}),
      minNewTokens: minNewTokens.default({}),
      maxNewTokens: maxNewTokens.default({}),
    });
  });

  it('give `auto` on the CPU the values that TypeScript documents', () => {
    expect({
      maxNumSeqs: valueOf(types, 'max_num_seqs'),
      maxNumBatchedTokens: valueOf(types, 'max_num_batched_tokens'),
      microBatchTokens: valueOf(native('engine/fit.cpp'), 'kCpuMicroBatchTokens'),
    }).toEqual(requests.CPU_AUTO);
  });

  it('give `auto` on a GPU at most what TypeScript documents', () =>
    expect(valueOf(native('engine/plan.cpp'), 'kMostSeqs')).toBe(MOST_SEQS));
});
