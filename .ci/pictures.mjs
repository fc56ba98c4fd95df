// Started by .ci/pictures, which installs what is imported here.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [browser_path, step, report, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: browser_path, args: ['--headless', '--no-sandbox', '--disable-gpu'] });

// Terminal colours as spans; everything else is escaped.
const escaped = (s) => s.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);
const styles = { 1: 'font-weight:700', 2: 'opacity:.7', 4: 'text-decoration:underline', 31: 'color:#ff938a', 32: 'color:#6fd388', 33: 'color:#e8bd62', 34: 'color:#6cb2ff', 36: 'color:#6cb2ff' };
let open = 0;
const html = readFileSync(step, 'utf8').split(/\x1b\[([0-9;]*)m/).map((part, i) => {
  if (i % 2 === 0) return escaped(part);
  const codes = part.split(';').filter((c) => c !== '' && c !== '0');
  const end = codes.length === 0 ? '</span>'.repeat(open) : '';
  open = codes.length === 0 ? 0 : open + 1;
  return end + (codes.length ? `<span style="${codes.map((c) => styles[c] ?? '').join(';')}">` : '');
}).join('');

const page = await browser.newPage({ viewport: { width: 980, height: 600 }, deviceScaleFactor: 1 });
await page.setContent(`<body style="margin:0;background:#14181d"><pre style="color:#e4e9ef;font:14px/1.35 monospace;padding:16px;margin:0">$ cargo run --release --bin lock_rwlock -- --step\n\n${html}</pre>`);
await page.screenshot({ path: `${folder}/step.png`, fullPage: true, clip: { x: 0, y: 0, width: 980, height: Math.min(1000, await page.evaluate(() => document.body.scrollHeight)) } });

await page.goto(pathToFileURL(report).href);
const box = await page.locator('section').first().boundingBox();
await page.screenshot({ path: `${folder}/report.png`, fullPage: true, clip: { x: 0, y: box.y, width: 980, height: 1150 } });
await browser.close();
