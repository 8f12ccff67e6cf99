/**
 * @huggingface/jinja with Python's semantics where the library silently has JavaScript's: `==`
 * between types, the effect of `set`, `break` and `else` in loops, the scope of macros, printing of
 * values, white space, the length of a text. Features that the library reports as missing stay
 * missing.
 */
import { strip } from '../data/white-space.js';
import { Environment, Interpreter, type Methods, type Node, type Scope } from './jinja-library.js';
import {
  capitalize,
  equal,
  modulo,
  split,
  str,
  title,
  titleWords,
  type TemplateValue,
} from './python.js';

type Call = (args: TemplateValue[], scope: Scope) => TemplateValue;

/** Carries `break` or `continue` up to its loop, with the text that the iteration had written. */
class LoopControl extends Error {
  written = '';
  constructor(readonly kind: string) {
    super(`{% ${kind.toLowerCase()} %} outside of a loop`);
  }
}

const STATEMENTS = new Set([
  'Set',
  'Macro',
  'Comment',
  'If',
  'For',
  'CallStatement',
  'FilterStatement',
]);
/**
 * Limits texts and lists, because a template that doubles one in a loop would fill the memory long
 * before the time limit.
 */
const MAX_CHARACTERS = 2 ** 24;
const MAX_ITEMS = 1_000_000;
/**
 * Limit of the characters of all values that one rendering makes; an item of a list counts as 32.
 */
const MAX_WORK = 2 ** 27;
const CHARACTERS_OF_ITEM = 32;

/** A value of the interpreter for a JavaScript one. */
function wrap(value: unknown): TemplateValue {
  return new Environment().set('value', value);
}

function text(value: string): TemplateValue {
  if (value.length > MAX_CHARACTERS) throw tooMuchText();
  return wrap(value);
}

const tooMuchText = (): Error =>
  new Error(`it makes a text of more than ${MAX_CHARACTERS} characters`);

/** A function that receives the interpreter's own values. */
function callable(call: Call): TemplateValue {
  const value = wrap(() => null) as { value: unknown } & TemplateValue;
  value.value = call;
  return value;
}

/** The output of `program` with the variables of `scope`. */
export function runTemplate(program: unknown, scope: Scope): string {
  const interpreter = new Interpreter(scope);
  let work = 0;
  const plain = Object.fromEntries(
    (
      [
        'evaluate',
        'evaluateMacro',
        'evaluateBinaryExpression',
        'evaluateMemberExpression',
        'applyFilter',
      ] as const
    ).map((name) => [name, interpreter[name].bind(interpreter)]),
  ) as unknown as Methods;
  Object.assign(interpreter, {
    evaluate: (node: Node | undefined, inner: Scope) => {
      if (node?.type === 'Break' || node?.type === 'Continue') throw new LoopControl(node.type);
      const value = plain.evaluate(node, inner);
      // The value of a name or literal exists already and costs nothing.
      if (node?.type !== 'Identifier' && node?.type !== 'StringLiteral') work += sizeOf(value);
      if (work > MAX_WORK) throw new Error('it makes more text and lists than a prompt needs');
      return value;
    },
    evaluateBlock: (nodes: Node[], inner: Scope) => block(interpreter, nodes, inner),
    evaluateFor: (node: Node, inner: Scope) => loop(interpreter, node, inner),
    evaluateMacro: (node: Node, inner: Scope) => {
      const nothing = plain.evaluateMacro(node, inner);
      const name = (node['name'] as Node)['value'] as string;
      const macro = inner.variables.get(name) as TemplateValue & { value: Call };
      const call = macro.value;
      macro.value = (args, caller) => {
        // a macro sees the scope of its definition, not that of its call
        const own = new Environment(inner);
        const given = caller.variables.get('caller');
        if (given) own.variables.set('caller', given);
        return call(args, own);
      };
      return nothing;
    },
    evaluateBinaryExpression: (node: Node, inner: Scope) => binary(interpreter, plain, node, inner),
    evaluateMemberExpression: (node: Node, inner: Scope) => member(interpreter, plain, node, inner),
    applyFilter: (operand: TemplateValue, filter: Node, inner: Scope) =>
      filtered(interpreter, plain, operand, filter, inner),
  });
  return interpreter.run(program).value as string;
}

function sizeOf({ type, value }: TemplateValue): number {
  if (type === 'StringValue') {
    const { length } = value as string;
    if (length > MAX_CHARACTERS) throw tooMuchText();
    return length;
  }
  if (type === 'ArrayValue' || type === 'TupleValue')
    return CHARACTERS_OF_ITEM * (value as unknown[]).length;
  return 0;
}

function block(interpreter: Methods, nodes: Node[], scope: Scope): TemplateValue {
  let written = '';
  for (const node of nodes) {
    try {
      const value = interpreter.evaluate(node, scope);
      if (!STATEMENTS.has(node.type) || value.type === 'StringValue') written += str(value);
    } catch (error) {
      if (error instanceof LoopControl) error.written = written + error.written;
      throw error;
    }
    if (written.length > MAX_CHARACTERS) text(written);
  }
  return text(written);
}

/** Each iteration has its own scope; as in jinja2, `else` runs if no iteration was completed. */
function loop(interpreter: Methods, node: Node, outer: Scope): TemplateValue {
  const target = node['loopvar'] as Node;
  const select =
    (node['iterable'] as Node).type === 'SelectExpression' ? (node['iterable'] as Node) : null;
  const over = interpreter.evaluate(select ? select['lhs'] : node['iterable'], outer);
  const turn = (item: TemplateValue): Scope => {
    const scope = new Environment(outer);
    bind(target, item, scope);
    return scope;
  };
  const items = itemsOf(over).filter(
    (item) => select === null || interpreter.evaluate(select['test'], turn(item)).__bool__().value,
  );
  let written = '';
  let ended = false;
  for (const [i, item] of items.entries()) {
    const scope = turn(item);
    const about = wrap({
      index: i + 1,
      index0: i,
      revindex: items.length - i,
      revindex0: items.length - i - 1,
      first: i === 0,
      last: i === items.length - 1,
      length: items.length,
      depth: 1,
      depth0: 0,
    }) as TemplateValue & { value: Map<string, TemplateValue> };
    about.value
      .set('previtem', items[i - 1] ?? wrap(undefined))
      .set('nextitem', items[i + 1] ?? wrap(undefined));
    scope.variables.set('loop', about);
    try {
      written += interpreter.evaluateBlock(node['body'] as Node[], scope).value as string;
      ended = true;
    } catch (error) {
      if (!(error instanceof LoopControl)) throw error;
      written += error.written;
      if (error.kind === 'Break') break;
    }
  }
  return ended
    ? text(written)
    : text(
        written +
          (interpreter.evaluateBlock(node['defaultBlock'] as Node[], outer).value as string),
      );
}

function itemsOf(value: TemplateValue): TemplateValue[] {
  if (value.type === 'ArrayValue' || value.type === 'TupleValue')
    return value.value as TemplateValue[];
  if (value.type === 'ObjectValue')
    return [...(value.value as Map<string, unknown>).keys()].map(wrap);
  if (value.type === 'UndefinedValue') return [];
  // Python iterates over the characters of a text; templates that do so are in error
  throw new Error(`a loop over a ${value.type}`);
}

function bind(target: Node, item: TemplateValue, scope: Scope): void {
  const names = target.type === 'TupleLiteral' ? (target['value'] as Node[]) : null;
  if (names === null) return void scope.variables.set(target['value'] as string, item);
  const parts = itemsOf(item);
  if (parts.length !== names.length)
    throw new Error(`${parts.length} values for ${names.length} loop variables`);
  names.forEach((name, i) => bind(name, parts[i] as TemplateValue, scope));
}

function binary(interpreter: Methods, plain: Methods, node: Node, scope: Scope): TemplateValue {
  const operator = (node['operator'] as Node)['value'] as string;
  if (operator === 'and' || operator === 'or') return plain.evaluateBinaryExpression(node, scope);
  const [left, right] = [
    interpreter.evaluate(node['left'], scope),
    interpreter.evaluate(node['right'], scope),
  ];
  const kinds = [left.type, right.type]
    .map((type) => (type === 'TupleValue' ? 'ArrayValue' : type))
    .join(operator);
  if (operator === '==' || operator === '!=')
    return wrap(equal(left, right) === (operator === '=='));
  if (operator === '~') return text(str(left) + str(right));
  if (
    (operator === 'in' || operator === 'not in') &&
    right.type !== 'StringValue' &&
    right.type !== 'ObjectValue'
  )
    return wrap(itemsOf(right).some((item) => equal(left, item)) === (operator === 'in'));
  if (kinds === 'StringValue+StringValue')
    return text((left.value as string) + (right.value as string));
  if (operator === '+' && (left.type === 'StringValue' || right.type === 'StringValue'))
    throw new Error(`a sum of ${left.type} and ${right.type}, which Python refuses`);
  if (kinds === 'StringValue*IntegerValue')
    return text(
      (left.value as string).repeat(
        Math.max(0, Math.min(right.value as number, MAX_CHARACTERS + 1)),
      ),
    );
  if (kinds === 'IntegerValue%IntegerValue')
    return wrap(modulo(left.value as number, right.value as number));
  if (
    kinds === 'ArrayValue+ArrayValue' &&
    (left.value as unknown[]).length + (right.value as unknown[]).length > MAX_ITEMS
  )
    throw new Error(`it makes a list of more than ${MAX_ITEMS} items`);
  const literal = (value: TemplateValue): Node => ({ type: 'Value', value });
  // the operands have been evaluated: their values replace them
  const evaluate = interpreter.evaluate;
  interpreter.evaluate = (inner, at) =>
    (inner as Node | undefined)?.type === 'Value'
      ? ((inner as Node)['value'] as TemplateValue)
      : evaluate(inner, at);
  try {
    return plain.evaluateBinaryExpression(
      { ...node, left: literal(left), right: literal(right) },
      scope,
    );
  } finally {
    interpreter.evaluate = evaluate;
  }
}

const METHODS: Readonly<Record<string, (self: string, args: TemplateValue[]) => unknown>> = {
  strip: (self, [set]) => strip(self, 'both', set?.value),
  lstrip: (self, [set]) => strip(self, 'left', set?.value),
  rstrip: (self, [set]) => strip(self, 'right', set?.value),
  split: (self, [separator, most]) => split(self, separator?.value, most?.value, MAX_ITEMS),
  title: (self) => title(self),
  capitalize: (self) => capitalize(self),
};

function member(interpreter: Methods, plain: Methods, node: Node, scope: Scope): TemplateValue {
  const property = node['property'] as Node;
  if (property.type === 'SliceExpression') return plain.evaluateMemberExpression(node, scope);
  const object = interpreter.evaluate(node['object'], scope);
  if (object.type === 'UndefinedValue')
    throw new Error('a part of a value that is undefined, which Python refuses');
  if (object.type === 'StringValue') {
    const self = object.value as string;
    const name =
      node['computed'] === true ? interpreter.evaluate(property, scope) : wrap(property['value']);
    if (name.type === 'IntegerValue') return wrap(Array.from(self).at(name.value as number));
    const method = Object.hasOwn(METHODS, String(name.value))
      ? METHODS[String(name.value)]
      : undefined;
    if (method) return callable((args) => wrap(method(self, args)));
  }
  const evaluate = interpreter.evaluate; // evaluated once, as in Python
  interpreter.evaluate = (inner, at) => (inner === node['object'] ? object : evaluate(inner, at));
  try {
    return plain.evaluateMemberExpression(node, scope);
  } finally {
    interpreter.evaluate = evaluate;
  }
}

function filtered(
  interpreter: Methods,
  plain: Methods,
  operand: TemplateValue,
  filter: Node,
  scope: Scope,
): TemplateValue {
  const called = filter.type === 'CallExpression';
  const name = (called ? (filter['callee'] as Node) : filter)['value'] as string;
  const [args, named] = called
    ? interpreter.evaluateArguments(filter['args'] as unknown[], scope)
    : [[], new Map<string, TemplateValue>()];
  switch (name) {
    case 'trim':
      return wrap(strip(str(operand), 'both', (args[0] ?? named.get('chars'))?.value));
    case 'string':
      return wrap(str(operand));
    case 'capitalize':
      return wrap(capitalize(str(operand)));
    case 'title':
      return wrap(titleWords(str(operand)));
    case 'first':
    case 'last':
      if (operand.type === 'StringValue')
        return wrap(Array.from(operand.value as string).at(name === 'first' ? 0 : -1));
      return itemsOf(operand).at(name === 'first' ? 0 : -1) ?? wrap(undefined);
    case 'length':
    case 'count':
      if (operand.type === 'StringValue') return wrap(Array.from(operand.value as string).length);
      return wrap(itemsOf(operand).length);
    case 'join':
      if (operand.type === 'ArrayValue' && !named.has('attribute') && args.length < 2)
        return text(
          (operand.value as TemplateValue[])
            .map(str)
            .join(str(args[0] ?? named.get('d') ?? wrap(''))),
        );
      break;
    default:
  }
  return plain.applyFilter(operand, filter, scope);
}
