import { chromium } from "playwright-core";
import type { Page } from "playwright-core";
import { findProgram } from "../../src/lab/run-command.ts";
import type { WatchConsole } from "../../src/lab/tour-change.ts";

const TIMEOUT_MS = 20_000;
/** Debian's Chromium as root and without a display; the rest keeps it from talking to anyone but the page's server. */
const CHROMIUM_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Opens the console in a browser and waits until it shows what the tour has just done: three hosts and the app. */
export const watchConsole: WatchConsole = async ({ url, token }) => {
  const browser = await chromium.launch({ executablePath: findProgram("chromium"), args: CHROMIUM_ARGS });
  try {
    // The server's key is known only to those who have the cluster's own CA; a browser would ask.
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(`${url}#token=${encodeURIComponent(token)}`, { timeout: TIMEOUT_MS });
    await see(page, "live");
    // The overview draws its map on a canvas; the pages beside it have the same as text.
    await page.goto(`${url}#/hosts`, { timeout: TIMEOUT_MS });
    for (const host of ["h1", "h2", "h3"]) await see(page, host);
    await page.goto(`${url}#/apps`, { timeout: TIMEOUT_MS });
    await see(page, "nodejs-rest-api.v1");
    await see(page, "4 of 4 healthy");
    if (errors.length > 0) throw new Error(`the page has errors: ${errors.join("; ")}`);
    return "hosts and app are shown, no error in the page";
  } finally {
    await browser.close();
  }
};

/** Waits until the text is on the page. */
async function see(page: Page, text: string): Promise<void> {
  await page.getByText(text).first().waitFor({ state: "visible", timeout: TIMEOUT_MS });
}
