// Typed lint rules. Layout is Prettier's business, line length scripts/lint.mjs's.
import tseslint from 'typescript-eslint';

const unusedVars = [
  'error',
  { argsIgnorePattern: '^_', varsIgnorePattern: '^_', destructuredArrayIgnorePattern: '^_' },
];

export default tseslint.config(
  {
    ignores: ['dist/', 'build/', 'build-*/', 'runs/', 'coverage/', 'test/golden/'],
  },
  {
    files: ['*.mjs', 'bench/**/*.mjs', 'scripts/**/*.mjs'],
    extends: [tseslint.configs.recommended],
    rules: {
      'one-var': ['error', 'never'],
      '@typescript-eslint/no-unused-vars': unusedVars,
    },
  },
  {
    files: ['src/**/*.ts', 'test/**/*.ts', 'examples/**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { project: 'tsconfig.test.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      'one-var': ['error', 'never'],
      '@typescript-eslint/no-unused-vars': unusedVars,
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      // Messages show values of untrusted JSON as they are.
      '@typescript-eslint/no-base-to-string': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
    },
  },
);
