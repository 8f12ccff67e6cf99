/** The pages in headless Chromium: no console line, no request, nothing cut, light and dark. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Browser, Page } from 'puppeteer-core';
import { comparePage } from '../../src/report/compare-page.js';
import { compareRuns } from '../../src/report/compare.js';
import { reportHtml } from '../../src/report/page.js';
import { CHROMIUM, open, startChromium } from '../support/chromium.js';
import { temporaryFolder } from '../support/tiny-model.js';
import { writeRun } from './fixture.js';

const work = temporaryFolder('cream-browser-');
const run = join(work, 'a run with a rather long name of its own');
const pages = {
  report: join(work, 'report.html'),
  compare: join(work, 'compare.html'),
  sweep: join(work, 'sweep.html'),
  empty: join(work, 'empty.html'),
};

/** Elements that are wider than what holds them, and text that is cut. */
const cut = (page: Page): Promise<string[]> =>
  page.evaluate(() => {
    const wide = document.documentElement.scrollWidth > window.innerWidth;
    const inner = [...document.querySelectorAll('.scroll, td, th, summary, pre, figure, .find')];
    return [
      ...(wide ? [`the page is ${document.documentElement.scrollWidth} wide`] : []),
      ...inner
        .filter((box) => box.scrollWidth > box.clientWidth + 1)
        .map((box) => `${box.tagName} ${box.className} ${box.textContent?.slice(0, 40)}`),
    ];
  });

/** The least contrast of a text or a curve with the page behind it. */
const contrast = (page: Page): Promise<number> =>
  page.evaluate(() => {
    const luminance = (colour: string): number => {
      const [r, g, b] = colour
        .match(/[\d.]+/g)!
        .slice(0, 3)
        .map((value) => Number(value) / 255)
        .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
    };
    const ground = luminance(getComputedStyle(document.body).backgroundColor);
    const shown = [
      ...[...document.querySelectorAll('h1, h2, td, dt, figcaption p')].map(
        (box) => getComputedStyle(box).color,
      ),
      ...[...document.querySelectorAll('.line')].map((line) => getComputedStyle(line).stroke),
      ...[...document.querySelectorAll('.tick')].map((text) => getComputedStyle(text).fill),
    ].map(luminance);
    return Math.min(
      ...shown.map((value) => {
        const [low, high] = [value, ground].sort((a, b) => a - b) as [number, number];
        return (high + 0.05) / (low + 0.05);
      }),
    );
  });

(CHROMIUM === undefined ? describe.skip : describe)('in Chromium', () => {
  let browser: Browser;
  beforeAll(async () => {
    writeRun(run);
    const other = join(work, 'other');
    writeRun(other);
    writeFileSync(join(other, 'recipe.yaml'), 'model: tiny\nseed: 3\n');
    const sweep = [0.000001, 0.000005].flatMap((rate) =>
      [1, 2, 3].map((seed) => {
        const made = join(work, `learning_rate=${rate},consistency_floor=0.5,seed=${seed}`);
        writeRun(made);
        writeFileSync(
          join(made, 'recipe.yaml'),
          `model: tiny\nseed: ${seed}\ntrain: {learning_rate: ${rate}}\n`,
        );
        return made;
      }),
    );
    writeFileSync(pages.sweep, comparePage(compareRuns(sweep)));
    writeFileSync(pages.report, reportHtml(run));
    writeFileSync(pages.compare, comparePage(compareRuns([run, other])));
    writeFileSync(pages.empty, reportHtml(join(work, 'none')));
    browser = await startChromium();
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(work, { recursive: true, force: true });
  });

  const views = Object.keys(pages).flatMap((name) =>
    [390, 1280].flatMap((width) =>
      [false, true].map((dark) => ({ name: name as keyof typeof pages, width, dark })),
    ),
  );
  it.each(views)(
    '$name at $width px, dark $dark, says nothing, asks for nothing and cuts nothing',
    async ({ name, width, dark }) => {
      const { page, console, requests } = await open(browser, pathToFileURL(pages[name]).href, {
        width,
        dark,
      });
      expect({ console, requests, cut: await cut(page) }).toEqual({
        console: [],
        requests: [],
        cut: [],
      });
      if (name !== 'empty') expect(await contrast(page)).toBeGreaterThan(3);
      await page.close();
    },
  );

  it('draws every plot with data and titled axes, and searches the samples', async () => {
    const { page, console } = await open(browser, pathToFileURL(pages.report).href);
    const plots = await page.evaluate(() =>
      [...document.querySelectorAll('figure')].map((figure) => ({
        title: figure.querySelector('h3')!.textContent,
        y: figure.querySelector('text[transform]')?.textContent ?? '',
        marks: [...figure.querySelectorAll<SVGGraphicsElement>('.line, circle, rect')].filter(
          (mark) => mark.getBBox().width + mark.getBBox().height > 0,
        ).length,
      })),
    );
    expect(plots.length).toBeGreaterThan(8);
    for (const { title, y, marks } of plots) {
      expect([title, y]).toEqual([title, expect.stringMatching(/\w/)]);
      expect([title, marks]).toEqual([title, expect.any(Number)]);
      expect(marks).toBeGreaterThan(0);
    }
    await page.type('.samples input', 'no such words');
    expect(await page.$eval('.samples output', (output) => output.textContent)).toBe('0 prompts');
    expect(console).toEqual([]);
    await page.close();
  });
});
