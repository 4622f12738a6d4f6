// Opens a page of the platform and runs the snippet of the documents in it, which keeps a map of what it watches.
// Arguments: the browser, the platform's address, the snippet, an empty folder.
// For each line that comes in, a JSON object of keys and versions, it waits until the page's map is that, and prints it.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [browser, base, snippet, folder] = process.argv.slice(2);
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const context = await chromium.launchPersistentContext(folder, { executablePath: browser, args: quiet });
try {
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(error.message));
  await page.goto(`${base}/docs`);
  await page.evaluate(`(() => {
    ${snippet}
    globalThis.watched = parcels;
    globalThis.opened = 0;
    source.addEventListener("open", () => (globalThis.opened += 1));
  })()`);
  for await (const line of createInterface({ input: process.stdin })) {
    await page.waitForFunction(
      (wanted) => {
        const found = [...globalThis.watched.values()].map(({ key, version }) => [key, version]).sort();
        return JSON.stringify(found) === JSON.stringify(Object.entries(JSON.parse(wanted)).sort());
      },
      line,
      { timeout: 60_000, polling: 50 },
    );
    console.log(JSON.stringify({ map: JSON.parse(line), opened: await page.evaluate("globalThis.opened") }));
  }
} finally {
  await context.close();
}
