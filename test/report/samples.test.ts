import { beforeEach, describe, expect, it } from '@jest/globals';
import { JSDOM } from 'jsdom';
import { readRun } from '../../src/report/metrics.js';
import { reportHtml } from '../../src/report/page.js';
import { flipsOf } from '../../src/report/flips.js';
import { writeRun } from './fixture.js';
import { temporaryFolder } from '../support/folders.js';

let directory: string;
beforeEach(() => {
  directory = temporaryFolder('cream-samples-');
});

/** The page with its script run, and the lists of ranked samples in it. */
function lists(options: { hostile?: string } = {}) {
  writeRun(directory, options);
  const errors: unknown[] = [];
  const dom = new JSDOM(reportHtml(directory), { runScripts: 'dangerously' });
  dom.window.addEventListener('error', (event) => errors.push(event.error));
  const { document } = dom.window;
  const boxes = [...document.querySelectorAll('.samples')].map((box) => {
    const get = (selector: string) => box.querySelector<HTMLElement>(selector)!;
    const input = get('input') as HTMLInputElement;
    const select = get('select') as HTMLSelectElement;
    return {
      title: get('h3').textContent,
      find: get('.find'),
      placeholder: input.placeholder,
      search: (text: string) => {
        input.value = text;
        input.dispatchEvent(new dom.window.Event('input'));
      },
      narrow: (value: string) => {
        select.value = value;
        select.dispatchEvent(new dom.window.Event('change'));
      },
      more: get('button') as HTMLButtonElement,
      count: () => get('output').textContent,
      shown: () => [...box.querySelectorAll('details')].map((item) => item.textContent),
    };
  });
  return { boxes, errors, document };
}

describe('the samples of the page', () => {
  it('shows six prompts of an iteration, and finds every one by its text', () => {
    const { boxes, errors } = lists();
    expect(boxes.map(({ title }) => title)).toEqual(['Iteration 1', 'Iteration 2']);
    const [box] = boxes;
    expect(box!.find.hidden).toBe(false);
    expect(box!.placeholder).toBe('Search 12 prompts');
    expect(box!.shown()).toHaveLength(6);
    expect(box!.count()).toBe('6 of 12, from high C to low');
    expect(box!.more.hidden).toBe(false);
    box!.more.click();
    expect([box!.shown().length, box!.count(), box!.more.hidden]).toEqual([12, '12 prompts', true]);
    const examples = readRun(directory, { examples: 100 }).phases[2]!.ranking!.examples;
    expect(examples).toHaveLength(12);
    for (const { prompt } of examples) {
      box!.search(prompt.slice(0, 60).replaceAll('\n', ' '));
      expect(box!.shown().join('\n')).toContain(prompt);
    }
    box!.search('THINKING 3');
    expect(box!.count()).toBe('12 prompts');
    box!.search('no such words');
    expect([box!.count(), box!.shown().length, box!.more.hidden]).toEqual(['0 prompts', 0, true]);
    expect(errors).toEqual([]);
  });

  it('narrows to flipped, right, wrong and skipped prompts', () => {
    const { boxes } = lists();
    const [box] = boxes;
    const examples = readRun(directory, { examples: 100 }).phases[2]!.ranking!.examples;
    const chosenRight = (right: boolean) =>
      examples.filter(({ samples }) =>
        samples.some(({ role, correct }) => role === 'chosen' && correct === right),
      ).length;
    box!.narrow('skipped');
    expect(box!.count()).toBe('1 prompt');
    box!.narrow('right');
    expect(box!.count()).toBe(`${chosenRight(true)} prompt${chosenRight(true) === 1 ? '' : 's'}`);
    box!.narrow('wrong');
    expect(box!.shown()).toHaveLength(chosenRight(false));
    box!.narrow('');
    expect(box!.count()).toBe('12 prompts');
  });

  it('keeps hostile text as text, searched for or not', () => {
    const hostile = '</script><img src=x onerror=alert(1)>&lt;"\'';
    const { boxes, document, errors } = lists({ hostile });
    boxes[0]!.search('</script><img src=x onerror=alert(1)>&lt;"\'');
    expect(boxes[0]!.shown().length).toBeGreaterThan(0);
    expect(boxes[0]!.shown()[0]).toContain(hostile);
    expect(document.querySelectorAll('img, [onerror]')).toHaveLength(0);
    expect(errors).toEqual([]);
  });
});

describe('flipsOf', () => {
  const ranking = (rank_current: number[], rank_previous: number[]) => ({
    samples: rank_current.map((_, i) => i),
    rank_current,
    rank_previous,
  });

  it('counts best, worst, reversed and swapped couples', () => {
    expect(
      flipsOf([
        ranking([1, 2, 3], [1, 2, 3]),
        ranking([1, 2, 3], [2, 1, 3]),
        ranking([1, 2, 3], [3, 2, 1]),
      ]),
    ).toEqual({ prompts: 3, best: 2, worst: 1, reversed: 1, couples: 9, swapped: 4 });
  });

  it('does not count a tie as a flip', () => {
    expect(flipsOf([ranking([1, 1, 3], [2, 1, 3])])).toMatchObject({ best: 0, swapped: 0 });
  });

  it('leaves out prompts without a pair and rankings of one judge', () => {
    expect(
      flipsOf([
        { ...ranking([1, 2], [2, 1]), skipped: 'all_equal' },
        { ...ranking([1, 2], [2, 1]), one_judge: true },
      ]),
    ).toBeNull();
  });
});
