// Opens the page in a browser and judges what it can do: what it appends, which errors it sees,
// what it reads, hears while it follows, and watches. Called by the test in `main.rs` as
//
//   node drive.mjs BROWSER PAGE SERVER
//
// with the program of the browser, the address of the page, and that of the server.

import assert from "node:assert/strict";
import process from "node:process";

import { chromium } from "playwright-core";

const [executablePath, pageUrl, server] = process.argv.slice(2);

// The longest that anything here is waited for, on the slowest of machines.
const timeout = 60_000;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"], timeout });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(timeout);
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  await page.goto(`${pageUrl}?server=${encodeURIComponent(server)}`);
  try {
    await judge(page, new URL(pageUrl).origin);
  } catch (error) {
    console.error("the page said:", said);
    throw error;
  }
} finally {
  await browser.close();
}

async function judge(page, origin) {
  const call = (step, ...args) =>
    page.evaluate(([step, args]) => window.streamgate[step](...args), [step, args]);
  assert.equal(await page.evaluate(() => location.origin), origin);
  assert.notEqual(origin, new URL(server).origin, "a page of the same origin needs no leave");

  const nothing = await call("read");
  assert.equal(nothing.error?.reason, "OBJECT_NOT_FOUND", JSON.stringify(nothing));
  assert.equal(nothing.error.metadata.object_id, "from a page");
  console.log("reads an error of a stream by its reason");

  const id = "0f0e0d0c-0b0a-4908-8706-050403020100";
  const first = await call("append", ["one"], undefined, id);
  assert.deepEqual(first, { first: 0, last: 0, replay: false });
  assert.deepEqual(await call("append", ["two", "thrée"], 0), { first: 1, last: 2, replay: false });
  assert.deepEqual(await call("append", ["one"], 7, id), { ...first, replay: true });
  console.log("appends, with an expectation and again");

  const { error } = await call("append", ["late"], 0);
  assert.equal(error.code, "Aborted");
  assert.equal(error.domain, "streamgate");
  assert.equal(error.reason, "WRONG_EXPECTED_VERSION");
  assert.deepEqual(error.metadata, { expected: "0", actual: "2" });
  assert.notEqual(error.message, "");
  const empty = await call("append", []);
  assert.equal(empty.error.reason, "INVALID_ARGUMENT");
  console.log("sees a conflict as a typed error");

  const texts = ["one", "two", "thrée"];
  const history = (texts) => texts.map((text, version) => ({ version, text }));
  assert.deepEqual(await call("read"), history(texts));
  console.log("reads a history");

  const heard = async (count) => {
    const reached = ([count]) => window.streamgate.heard().followed.length >= count;
    await page.waitForFunction(reached, [count]);
    return call("heard");
  };
  assert.equal(await call("follow"), 3);
  for (const text of ["four", "five", "six"]) {
    texts.push(text);
    await call("append", [text]);
    assert.deepEqual((await heard(texts.length)).followed, history(texts));
  }
  console.log("hears events as they come");

  const { phases, copied } = await call("migrate", "cold");
  assert.equal(phases?.at(-1), "SUCCEEDED", JSON.stringify(phases));
  assert.equal(copied, texts.length);
  texts.push("seven");
  assert.deepEqual(await call("append", ["seven"]), { first: 6, last: 6, replay: false });
  const { followed, marks } = await heard(texts.length);
  assert.deepEqual(followed, history(texts));
  assert.equal(marks[0], "header");
  assert.ok(marks.includes("caughtUp"), marks.join());
  assert.ok(!marks.some((mark) => mark.startsWith("ended")), marks.join());
  assert.deepEqual(await call("read"), history(texts));
  await call("stop");
  console.log("watches a migration to its end, and follows across it");
}
