/** `cream completion SHELL`: a script for bash, zsh or fish, generated from the commands. */
import { Argument, type Command } from 'commander';
import { RunError } from '../../run/errors.js';
import type { Cli } from '../cli.js';
import { printJson, printLine } from '../table.js';

interface Described {
  name: string;
  about: string;
  flags: { long: string; about: string; takesValue: boolean }[];
}

const SCRIPTS = { bash, zsh, fish };

export function addCompletion(program: Command, _cli: Cli): void {
  program
    .command('completion')
    .description('print a completion script: eval "$(cream completion bash)"')
    .addArgument(new Argument('[shell]', 'the shell').choices(Object.keys(SCRIPTS)))
    .option('--json', 'print the commands and their flags as JSON, for other programs')
    .action((shell: keyof typeof SCRIPTS | undefined, flags: { json?: boolean }) => {
      if (flags.json && shell === undefined) return printJson(describe(program, (about) => about));
      if (flags.json || shell === undefined)
        throw new RunError(
          'ERR_RECIPE',
          `Name a shell (${Object.keys(SCRIPTS).join(', ')}) for its script, or give --json ` +
            'alone for the commands and flags.',
        );
      printLine(SCRIPTS[shell](describe(program, plain)));
    });
}

/** Shortens a description and removes characters with a meaning in shells. */
const plain = (text: string): string => text.replace(/[^\w ,./-]/g, '').slice(0, 60);

/** The commands and their flags, with descriptions as `told`. */
const describe = (program: Command, told: (about: string) => string): Described[] =>
  program.commands.map((command) => ({
    name: command.name(),
    about: told(command.description()),
    flags: command.options.flatMap(({ long, description, required, optional }) =>
      long ? [{ long, about: told(description), takesValue: required || optional }] : [],
    ),
  }));

function bash(commands: Described[]): string {
  return `_cream() {
  local current=\${COMP_WORDS[COMP_CWORD]} words=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='${commands.map(({ name }) => name).join(' ')}'
  else
    case \${COMP_WORDS[1]} in
${commands
  .map(({ name, flags }) => `      ${name}) words='${flags.map(({ long }) => long).join(' ')}' ;;`)
  .join('\n')}
    esac
    case $current in
      -*) ;;
      *) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o filenames -F _cream cream`;
}

function zsh(commands: Described[]): string {
  return `#compdef cream
_cream() {
  if (( CURRENT == 2 )); then
    local -a commands=(
${commands.map(({ name, about }) => `      '${name}:${about}'`).join('\n')}
    )
    _describe command commands
    return
  fi
  case $words[2] in
${commands
  .map(
    ({ name, flags }) =>
      `    ${name}) _arguments ${flags
        .map(
          ({ long, about, takesValue }) =>
            `'${long}[${about}]${takesValue ? ':value:_files' : ''}'`,
        )
        .join(' ')} '*:file:_files' ;;`,
  )
  .join('\n')}
  esac
}
compdef _cream cream`;
}

function fish(commands: Described[]): string {
  return commands
    .flatMap(({ name, about, flags }) => [
      `complete -c cream -n __fish_use_subcommand -a ${name} -d '${about}'`,
      ...flags.map(
        ({ long, about: flag, takesValue }) =>
          `complete -c cream -n '__fish_seen_subcommand_from ${name}' -l ${long.slice(2)} ` +
          `-d '${flag}'${takesValue ? ' -r' : ''}`,
      ),
    ])
    .join('\n');
}
