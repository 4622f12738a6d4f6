// Opens a page of the platform and runs the program of the documents in it, which logs in with cookies.
// Arguments: the browser, the platform's address, the program, an empty folder, a JSON object of e-mail and password.
// Each line that comes in is an expression; it is evaluated in the page, and the answer printed as JSON. `!expire` takes the access cookie
// away, as time does; `!cookies` prints what the browser has.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [browser, base, program, folder, account] = process.argv.slice(2);
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const context = await chromium.launchPersistentContext(folder, { executablePath: browser, args: quiet });
try {
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(error.message));
  await page.goto(`${base}/docs`);
  await page.evaluate(`(() => { ${program}; Object.assign(globalThis, { login, call, logout, account: ${account} }); })()`);
  for await (const line of createInterface({ input: process.stdin })) {
    let said;
    if (line === "!expire") {
      await context.clearCookies({ name: "stylobate_access" });
      said = true;
    } else if (line === "!cookies") {
      said = (await context.cookies()).map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite]).sort();
    } else {
      said = await page.evaluate(line);
    }
    console.log(JSON.stringify(said));
  }
} finally {
  await context.close();
}
