// Started by .ci/axe, which installs what is imported here.
import { createRequire } from 'node:module';
import { readFileSync, statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [browser_path, file] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await chromium.launch({
  executablePath: browser_path,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const large = statSync(file).size > 500_000;
let failures = 0;
const fail = (text) => { failures += 1; console.log(`axe: FAILED: ${text}`); };

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1100, 320]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
    await context.grantPermissions(['clipboard-read', 'clipboard-write']).catch(() => {});
    await context.setOffline(true);
    const page = await context.newPage();
    page.on('request', (r) => { if (!/^(file|data):/.test(r.url())) fail(`asks the network for ${r.url()}`); });
    page.on('pageerror', (e) => fail(`script: ${e}`));
    page.on('console', (m) => { if (m.type() === 'error') fail(`console: ${m.text()}`); });
    await page.goto(pathToFileURL(file).href);
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    if ((background === 'rgb(255, 255, 255)') !== (colorScheme === 'light')) fail(`${colorScheme}: the background is ${background}`);
    await page.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) fail(`${wide} px wide at ${width} px`);
    const button = page.locator('[data-copy]').first();
    if (await button.count()) {
      await button.click();
      await page.waitForFunction((b) => b.textContent !== 'Copy this sentence with its conditions', await button.elementHandle());
      const said = await button.textContent();
      if (said !== 'Copied') fail(`the copy button says '${said}'`);
    }
    // A page of all labs takes axe a minute: both schemes and both widths once, not each with each.
    if (large && (colorScheme === 'light') !== (width === 1100)) { await context.close(); continue; }
    await page.evaluate(axe);
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const result = await page.evaluate((values) => axe.run({ runOnly: { type: 'tag', values } }), tags);
    for (const v of result.violations) {
      fail(`${colorScheme} ${width} px: ${v.id}: ${v.help} (${v.nodes.length} times, e.g. ${v.nodes[0].html.slice(0, 160)})`);
    }
    console.log(`axe: ${colorScheme}, ${width} px: ${result.violations.length} violations, ${result.passes.length} rules passed`);
    await context.close();
  }
}
// Without a script everything can be read, and no button is shown that does nothing.
const context = await browser.newContext({ javaScriptEnabled: false });
const page = await context.newPage();
await page.goto(pathToFileURL(file).href);
if (await page.locator('button:visible').count()) fail('a button is shown where no script runs');
if (!(await page.locator('figure').first().isVisible())) fail('no chart without a script');
await browser.close();
process.exit(failures ? 1 : 0);
