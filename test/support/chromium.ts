/** A headless Chromium, for what only a browser tells of a page. */
import { existsSync } from 'node:fs';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';

/** Undefined where there is none; its tests are then skipped. */
export const CHROMIUM = [
  process.env['CHROMIUM'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path): path is string => path !== undefined && existsSync(path));

export const startChromium = (): Promise<Browser> =>
  puppeteer.launch({ executablePath: CHROMIUM!, args: ['--no-sandbox', '--disable-gpu'] });

export interface Opened {
  page: Page;
  /** Lines of its console, errors of its script included. */
  console: string[];
  /** Addresses that it asked for, its own left out. */
  requests: string[];
}

export async function open(
  browser: Browser,
  url: string,
  { width = 1280, dark = false } = {},
): Promise<Opened> {
  const page = await browser.newPage();
  const opened: Opened = { page, console: [], requests: [] };
  page.on('console', (message) => opened.console.push(message.text()));
  page.on('pageerror', (error) => opened.console.push(String(error)));
  page.on('request', (request) => {
    if (request.url() !== url) opened.requests.push(request.url());
  });
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([
    { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
  ]);
  await page.goto(url, { waitUntil: 'load' });
  return opened;
}
