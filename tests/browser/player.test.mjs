// The pages in a browser, as a reader uses them. Environment: PAGES, a directory that `racewalk check --report`
// wrote; CHROMIUM, the browser.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const SMALL = 'pin_barrier-wmb-arm64.html';
const LARGE = 'gup_fast_vs_munmap-at_once-arm64.html';
const STALE_TLB = 'access_vs_munmap-no_flush_before_free-arm64.html';
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'], timeout: 0 });
});
after(() => browser.close());

const address = (page, step) => pathToFileURL(`${process.env.PAGES}/${page}`).href + (step === undefined ? '' : `#step-${step}`);

/** Opens a page, lets `use` work with it, and sees that it complained of nothing and asked for nothing. */
async function visit(name, step, use, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(0); // ctest ends what hangs; a busy machine is no failure
  const page = await context.newPage();
  const wrong = [];
  page.on('console', message => wrong.push(message.text()));
  page.on('pageerror', error => wrong.push(error.message));
  page.on('request', request => {
    if (!request.url().startsWith('file:') && !request.url().startsWith('data:')) wrong.push(`asked for ${request.url()}`);
  });
  await page.goto(address(name, step));
  await use(page);
  assert.deepEqual(wrong, []);
  await context.close();
}

const position = async page => (await page.textContent('#position')).split(' / ').map(Number);
const stepInAddress = page => new URL(page.url()).hash;
const state = page => page.innerText('#state');

describe('the player', () => {
  it('begins with the initial state', () => visit(SMALL, undefined, async page => {
    assert.equal((await position(page))[0], 0);
    assert.match(await state(page), /before the first step/);
    assert.equal(await page.locator('#verdict').count(), 0);
  }));

  it('goes to the step that is clicked', () => visit(SMALL, undefined, async page => {
    await page.click('#row-2 .cell');
    assert.equal((await position(page))[0], 2);
    assert.equal(stepInAddress(page), '#step-2');
    assert.match(await page.innerText('.pages td.written'), /1025/);
    assert.match(await page.innerText('.pages td.written'), /1 pin \+ 1/);
  }));

  it('goes on and back by its buttons', () => visit(SMALL, undefined, async page => {
    await page.click('#forward');
    await page.click('#forward');
    await page.click('#back');
    assert.equal((await position(page))[0], 1);
    assert.equal(await page.isDisabled('#back'), false);
    await page.click('#first');
    assert.equal(await page.isDisabled('#back'), true);
  }));

  it('goes by the keyboard', () => visit(LARGE, undefined, async page => {
    const [, last] = await position(page);
    const seen = [];
    for (const key of ['ArrowRight', 'ArrowDown', 'ArrowLeft', 'End', 'ArrowRight', 'ArrowUp', 'Home', 'ArrowLeft']) {
      await page.keyboard.press(key);
      seen.push((await position(page))[0]);
    }
    assert.deepEqual(seen, [1, 2, 1, last, last, last - 1, 0, 0]);
  }));

  it('opens at the step of a link, and follows the address', () => visit(LARGE, 5, async page => {
    assert.equal((await position(page))[0], 5);
    await page.goto(address(LARGE, 3));
    assert.equal((await position(page))[0], 3);
    await page.click('#row-4 a.number');
    assert.equal((await position(page))[0], 4);
    assert.equal(stepInAddress(page), '#step-4');
    await page.goBack();
    assert.equal((await position(page))[0], 3);
    await page.goto(address(LARGE, 99999));
    const [here, last] = await position(page);
    assert.equal(here, last);
  }));

  for (const [name, property] of [[SMALL, 'PIN-STABLE'], [LARGE, 'INV-UAF']])
    it(`names ${property} at the last step of ${name}`, () => visit(name, undefined, async page => {
      await page.keyboard.press('End');
      assert.match(await page.innerText('#verdict'), new RegExp(`^${property} is broken: `));
      assert.equal(await page.locator('.row.violating').count(), 1);
      await page.keyboard.press('Home');
      assert.equal(await page.locator('#verdict').count(), 0);
    }));

  it('shows what becomes of a page table', () => visit(LARGE, 0, async page => {
    const tree = () => page.innerText('.tree');
    assert.match(await tree(), /pmd\[0\]\s+table table@0/);
    assert.match(await tree(), /pte\[0\]\s+leaf s W D A/);
    const unhook = await page.locator('.row', { hasText: 'W pmd[0] = none' }).getAttribute('id');
    await page.click(`#${unhook} .cell`);
    assert.match(await page.innerText('.tree .written'), /pmd\[0\]\s+table table@0\s+none/);
    assert.match(await page.innerText('.table.unhooked'), /table@0 unhooked/);
    const free = await page.locator('.row', { hasText: 'FREE table@0' }).getAttribute('id');
    await page.click(`#${free} .cell`);
    assert.match(await page.innerText('.table.freed'), /table@0 freed at step \d+/);
  }));

  it('shows who holds a lock', () => visit(LARGE, 0, async page => {
    const lock = await page.locator('.row', { hasText: 'lock table@0.ptl' }).first().getAttribute('id');
    await page.click(`#${lock} .cell`);
    assert.match(await page.innerText('.cpus'), /CPU1 munmap\s+holds table@0\.ptl/);
    await page.keyboard.press('End');
    assert.doesNotMatch(await page.innerText('.cpus'), /holds/);
  }));

  it('shows translations that memory no longer has', () => visit(STALE_TLB, undefined, async page => {
    await page.keyboard.press('End');
    assert.match(await page.innerText('.cpus .outdated >> nth=0'), /pmd\[0\]\s+table table@0\s+stale: now none/);
  }));

  it('draws arrows to stale reads, and only to those', async () => {
    await visit(SMALL, 8, async page => {
      assert.equal(await page.locator('#arrows path.source').count(), 1);
      assert.equal(await page.locator('#arrows path.missed').count(), 1);
      assert.match(await state(page), /CPU1 saw 1/);
    });
    await visit(LARGE, 8, async page => assert.equal(await page.locator('#arrows path.source').count(), 0));
  });

  it('keeps the step in view', () => visit(LARGE, undefined, async page => {
    for (const key of ['End', 'Home']) {
      await page.keyboard.press(key);
      const [here] = await position(page);
      const row = await page.locator(`#row-${here}`).boundingBox();
      const time = await page.locator('#time').boundingBox();
      assert.ok(row.y >= time.y && row.y + row.height <= time.y + time.height + 1);
    }
  }, { viewport: { width: 1280, height: 420 } }));

  it('fits a phone', () => visit(LARGE, undefined, async page => {
    for (const key of ['Home', 'End']) {
      await page.keyboard.press(key);
      const [needed, there] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(needed <= there, `${needed} px wide on ${there}`);
    }
    await page.keyboard.press('Home');
    await page.tap('#forward');
    assert.equal((await position(page))[0], 1);
  }, PHONE));

  it('is dark where the reader wants it dark', async () => {
    const brightness = page => page.evaluate(() => {
      const rgb = getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number);
      return rgb.reduce((a, b) => a + b) / 3;
    });
    for (const name of [SMALL, 'index.html']) {
      await visit(name, undefined, async page => assert.ok(await brightness(page) > 200), { colorScheme: 'light' });
      await visit(name, undefined, async page => assert.ok(await brightness(page) < 60), { colorScheme: 'dark' });
    }
  });
});

describe('the index', () => {
  it('leads to each page', () => visit('index.html', undefined, async page => {
    await page.click(`a[href="${LARGE}"]`);
    await page.waitForSelector('#row-1');
    assert.match(await page.title(), /gup_fast_vs_munmap:at_once on arm64/);
    await page.click('a[href="index.html"]');
    assert.match(await page.innerText('h1'), /verdicts/);
  }));

  it('fits a phone', () => visit('index.html', undefined, async page => {
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  }, PHONE));
});

describe('every page', () => {
  it('plays from the first step to the last without a complaint', () => visit('index.html', undefined, async page => {
    const names = await page.locator('td a').evaluateAll(links => links.map(a => a.getAttribute('href')));
    assert.ok(names.length > 2);
    for (const name of names) {
      await page.goto(address(name));
      const [, last] = await position(page);
      for (let step = 0; step < last; step++) await page.keyboard.press('ArrowRight');
      assert.match(await page.innerText('#verdict'), / is broken: /);
    }
  }));
});
