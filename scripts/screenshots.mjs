// The screenshots of a run's report in docs/images: node scripts/screenshots.mjs RUN. Needs
// Chromium (the variable CHROMIUM, else /usr/bin/chromium) and a build.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { reportHtml } from '../dist/report/page.js';
import { root } from './steps.mjs';

const [run] = process.argv.slice(2);
if (run === undefined) throw new Error('Name a run directory: node scripts/screenshots.mjs RUN');
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
const page = await browser.newPage();
await page.setContent(reportHtml(run));

async function shoot(name, { width, height, dark, from }) {
  await page.setViewport({ width, height });
  const value = dark ? 'dark' : 'light';
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
  await page.evaluate((selector) => document.querySelector(selector).scrollIntoView(), from);
  const image = await page.screenshot({ type: 'webp', quality: 75 });
  writeFileSync(join(root, 'docs/images', `${name}.webp`), image);
}

await shoot('report', { width: 1280, height: 820, dark: false, from: 'body' });
await shoot('report-curves', { width: 1280, height: 820, dark: true, from: '#curves' });
await page.click('.samples details summary');
await shoot('report-phone', { width: 390, height: 820, dark: false, from: '#samples' });
await browser.close();
