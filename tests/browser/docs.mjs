// Opens the page of the API in a browser, authorizes, and tries actions with parameters in query and path.
// Arguments: the browser, the platform's address, an access token, an empty folder. Prints what was answered, as JSON.
import { chromium } from "playwright-core";

const [browser, base, token, folder] = process.argv.slice(2);
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const context = await chromium.launchPersistentContext(folder, { executablePath: browser, args: quiet, viewport: { width: 1200, height: 1400 } });
try {
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && !message.text().includes("status of 404") && errors.push(message.text()));
  await page.goto(`${base}/docs`);
  await page.locator(".opblock").first().waitFor();
  const shown = await page.locator(".opblock-summary-path").evaluateAll((paths) => paths.map((path) => path.dataset.path));

  await page.click(".btn.authorize");
  const bearer = page.locator(".modal-ux form", { has: page.locator("#auth-bearer-value") });
  await bearer.locator("input").fill(token);
  await bearer.locator("button[type=submit]").click();
  await page.locator(".modal-ux .btn-done").first().click();

  const tried = {};
  async function tryOut(path, fill) {
    const block = page.locator(".opblock-get", { has: page.locator(`[data-path="${path}"]`) });
    await block.locator(".opblock-summary").click();
    await block.locator(".try-out__btn").click();
    await fill((name, kind) => block.locator(`tr[data-param-name="${name}"] ${kind}`));
    await block.locator("button.execute").click();
    const answer = block.locator(".live-responses-table .response");
    await answer.waitFor();
    tried[path] = {
      url: await block.locator(".request-url pre").innerText(),
      status: (await answer.locator(".response-col_status").innerText()).trim(),
      height: (await block.boundingBox()).height,
    };
  }
  await tryOut("/boxes", async (field) => {
    await field("colour", "select").selectOption("red");
    await field("most", "input").fill("7");
  });
  await tryOut("/boxes/{name}", (field) => field("name", "input").fill("tea"));
  await tryOut("/v1/auth/me", async () => {});
  await page.screenshot({ path: `${folder}/docs.png`, fullPage: true });
  console.log(JSON.stringify({ shown, tried, errors }));
} finally {
  await context.close();
}
