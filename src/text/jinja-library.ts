/**
 * The parts of @huggingface/jinja that are used, with types: its own declarations import each other
 * without file extensions, which Node's resolution does not find, so they silently become `any`.
 */
import * as library from '@huggingface/jinja';
import type { TemplateValue } from './python.js';

export interface Scope {
  variables: Map<string, TemplateValue>;
  /** Sets a name to the interpreter's value for a JavaScript value, and returns it. */
  set(name: string, value: unknown): TemplateValue;
}

export interface Node {
  type: string;
  [key: string]: unknown;
}

/**
 * Methods of the interpreter that are replaced or called here; its declarations make them private.
 */
export interface Methods {
  run: (program: unknown) => TemplateValue;
  evaluate: (node: unknown, scope: Scope) => TemplateValue;
  evaluateBlock: (nodes: Node[], scope: Scope) => TemplateValue;
  evaluateFor: (node: Node, scope: Scope) => TemplateValue;
  evaluateMacro: (node: Node, scope: Scope) => TemplateValue;
  evaluateBinaryExpression: (node: Node, scope: Scope) => TemplateValue;
  evaluateMemberExpression: (node: Node, scope: Scope) => TemplateValue;
  applyFilter: (operand: TemplateValue, filter: Node, scope: Scope) => TemplateValue;
  evaluateArguments: (
    args: unknown[],
    scope: Scope,
  ) => [TemplateValue[], Map<string, TemplateValue>];
}

interface Library {
  Environment: new (parent?: Scope) => Scope;
  Interpreter: new (scope: Scope) => Methods;
  tokenize: (
    source: string,
    options: { trim_blocks: boolean; lstrip_blocks: boolean },
  ) => readonly unknown[];
  parse: (tokens: readonly unknown[]) => Node;
}

export const { Environment, Interpreter, tokenize, parse } = library as unknown as Library;
