import { describe, expect, it } from '@jest/globals';
import { FileError } from '../../src/files/read.js';
import { asRunError } from '../../src/run/own-files.js';

describe('a file of the run that cannot be read', () => {
  it.each([
    ['EACCES', 'forbidden', 'Cannot read a.json: forbidden. It is a file of the run.'],
    ['EPERM', 'forbidden', 'Cannot read a.json: forbidden. It is a file of the run.'],
    [
      'ERR_NOT_REGULAR',
      'it is a folder',
      'Cannot read a.json: it is a folder. It is a file of the run: bring it back from a copy, ' +
        'or choose another run directory.',
    ],
  ])('for %s gets the advice that fits', (code, reason, message) => {
    expect(asRunError(new FileError('a.json', code, reason))).toMatchObject({ message });
  });
});
