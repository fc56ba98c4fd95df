// Started by .ci/pictures, which installs what is imported here.
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [browser_path, step, report, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browser_path, args: ['--headless', '--no-sandbox', '--disable-gpu'] });

// Terminal colours as spans; everything else is escaped.
const escaped = (s) => s.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);
const styles = { 1: 'font-weight:700', 2: 'opacity:.7', 4: 'text-decoration:underline', 31: 'color:#ff938a', 32: 'color:#6fd388', 33: 'color:#e8bd62', 34: 'color:#6cb2ff', 36: 'color:#6cb2ff' };
let open = 0;
// The first step of the lab, which ends where the next one begins.
const whole = readFileSync(step, 'utf8').trimStart();
const second = [...whole.matchAll(/\n[^\n]*async_starvation \/ /g)][1]?.index ?? whole.length;
const shown = whole.slice(0, second).trimEnd();
writeFileSync(`${folder}/step.txt`, `${shown.replace(/\x1b\[[0-9;]*m/g, '')}\n`);
const html = shown.split(/\x1b\[([0-9;]*)m/).map((part, i) => {
  if (i % 2 === 0) return escaped(part);
  const codes = part.split(';').filter((c) => c !== '' && c !== '0');
  const end = codes.length === 0 ? '</span>'.repeat(open) : '';
  open = codes.length === 0 ? 0 : open + 1;
  return end + (codes.length ? `<span style="${codes.map((c) => styles[c] ?? '').join(';')}">` : '');
}).join('');

const page = await browser.newPage({ viewport: { width: 760, height: 600 }, deviceScaleFactor: 1 });
await page.setContent(`<body style="margin:0;background:#14181d"><pre style="color:#e4e9ef;font:14px/1.35 monospace;padding:16px;margin:0">$ cargo run --release -- show async_starvation\n\n${html}</pre>`);
await page.screenshot({ path: `${folder}/step.png`, fullPage: true });

await page.setViewportSize({ width: 980, height: 900 });
await page.goto(pathToFileURL(report).href);
// The lab's own section, as far as its folded parts.
await page.evaluate(() => document.querySelectorAll('section details').forEach((d) => { d.open = false; }));
const section = await page.locator('section').first().boundingBox();
const folded = await page.locator('section details').first().boundingBox();
const clip = { x: 0, y: section.y, width: 980, height: folded.y - section.y };
await page.screenshot({ path: `${folder}/report.png`, fullPage: true, clip });
const text = await page.evaluate(() => [...document.querySelector('section').children].filter((e) => e.tagName !== 'DETAILS').map((e) => e.innerText).join('\n'));
writeFileSync(`${folder}/report.txt`, `${text.trim()}\n`);
await browser.close();
