// A page in headless Chromium that has SIP.js under /lib, for who calls by it.
import { chromium } from "playwright-core";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors"];

// Gives a page with the functions `exposed`, what went wrong in it, and what ends both browser and server. `args` are the browser's further ones.
export async function open(args = [], exposed = {}) {
  const lib = dirname(fileURLToPath(import.meta.resolve("sip.js")));
  const server = createServer(async (request, response) => {
    if (request.url === "/") {
      response.setHeader("content-type", "text/html");
      return response.end("<!doctype html><title>Call</title>");
    }
    try {
      const file = await readFile(join(lib, normalize(request.url).replace(/^\/lib/, "")));
      response.setHeader("content-type", "text/javascript");
      response.end(file);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...QUIET, ...args] });
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  for (const [name, what] of Object.entries(exposed)) {
    await page.exposeFunction(name, what);
  }
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const close = async () => {
    await browser.close();
    server.close();
  };
  return { page, errors, close };
}
