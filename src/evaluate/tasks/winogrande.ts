/**
 * WinoGrande (Sakaguchi et al. 2020): a sentence with a blank `_` and two options. Published rows:
 * `sentence`, `option1`, `option2`, `answer` "1" or "2" ("" in the test split).
 *
 * The evaluation is partial (Trinh & Le 2018), as in lm-evaluation-harness: each option is put into
 * the blank, and the rest of the sentence, which is the same for both, is scored after it. There is
 * no accuracy per character, because both continuations have the same length.
 */
import { DataError, describe } from '../../data/jsonl.js';
import { strip } from '../../data/white-space.js';
import { numberOf, publishedTask, textOf } from '../published.js';

export const winogrande = publishedTask({
  name: 'winogrande',
  hub: 'hub:allenai/winogrande/winogrande_xl:validation',
  columns: ['sentence', 'option1', 'option2', 'answer'],
  read(row) {
    const sentence = textOf(row, 'sentence');
    const options = [textOf(row, 'option1'), textOf(row, 'option2')];
    const blank = sentence.indexOf('_');
    const rest = strip(sentence.slice(blank + 1));
    if (blank < 0 || rest === '')
      throw new DataError(
        `${row.where}: "sentence" must have a blank "_" with text behind it, but is ` +
          describe(sentence),
      );
    return {
      question: 'Which choice belongs in the blank?',
      context: sentence,
      choices: options,
      right: numberOf(row, 'answer', 1),
      stem: options.map((option) => sentence.slice(0, blank) + option),
      continuation: rest,
    };
  },
});
