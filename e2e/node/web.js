// What the scripts of the web share: where the server is, and Chromium with pages from a
// web server of its own, so that they reach chatd from another origin.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";

import puppeteer from "puppeteer-core";

export const domain = process.env.CHATD_DOMAIN;
export const services = {
  websocket: `wss://${process.env.CHATD_WEB}/xmpp-websocket`,
  bosh: `https://${process.env.CHATD_WEB}/http-bind`,
};
export const password = "correct horse";
export const patience = 30_000; // milliseconds that one expected thing may take

const kinds = { ".js": "text/javascript", ".cjs": "text/javascript", ".css": "text/css", ".html": "text/html" };

// Serves one page, and below it what is in a folder of node_modules.
async function serve(html, folder) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    try {
      const content = pathname === "/" ? html : await readFile(join(folder, pathname));
      response.setHeader("Content-Type", kinds[extname(pathname)] ?? (pathname === "/" ? "text/html; charset=utf-8" : "application/octet-stream"));
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

// Waits until a function is true in a page, which need not be the one in front.
export const eventually = (page, isTrue, ...args) => page.waitForFunction(isTrue, { polling: 50 }, ...args);

// Keeps what a page looks like, for people.
export async function screenshot(page, name) {
  const folder = process.env.CHATD_SCREENSHOTS;
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`) });
}

// Runs a script with a function that opens the page for one more user. Each has cookies and storage
// of its own. What a page says is shown when the script fails.
export async function withPages(html, folder, script) {
  const server = await serve(html, join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "node_modules", folder));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--ignore-certificate-errors", "--disable-dev-shm-usage"],
  });
  const said = [];
  const pages = new Map();
  const open = async (user) => {
    const page = await (await browser.createBrowserContext()).newPage();
    pages.set(user, page);
    page.setDefaultTimeout(patience);
    page.on("console", (message) => said.push(`${user}: ${message.text()}`));
    page.on("pageerror", (error) => said.push(`${user}: ${error}`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return page;
  };
  try {
    await script(open);
  } catch (error) {
    console.error(said.join("\n"));
    console.error(error);
    for (const [user, page] of pages) await screenshot(page, `failed-${user}`);
    process.exit(1);
  }
  await browser.close();
  process.exit(0);
}

export { assert };
