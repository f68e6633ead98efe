/**
 * Looks at a running console as a person would: signs in by link, finds hosts, app, counts and addresses, scales the app
 * by the console's own control and watches everything follow. Run by the demo's tour, as a function or as a program:
 *
 *   APOLLO_TOKEN=… bun test/e2e/console-check.ts --url https://127.0.0.1:8443/ui/ --app /web --scale-to 4 --hosts h1,h2,h3
 *
 * which prints the report as one line of JSON.
 */
import { parseArgs } from "node:util";
import { chromium, type Browser, type Locator, type Page } from "playwright-core";
import { AppError, describeError } from "../../src/model/error.ts";

export interface ConsoleCheck {
  /** Of the console, ending in `/ui/`. Its certificate is not verified: the lab's CA is not known to the browser. */
  readonly url: string;
  readonly token: string;
  readonly app: string;
  readonly scaleTo: number;
  /** Names of the hosts that must be there. */
  readonly hosts: readonly string[];
  /** Path of the browser. */
  readonly chromium?: string;
  /** Deadline of each single wait. */
  readonly timeoutMs?: number;
  /** Where to put a picture when the check fails. */
  readonly failureImage?: string;
}

export interface ConsoleCheckReport {
  readonly hosts: number;
  readonly before: number;
  readonly after: number;
  /** Addresses of all instances after scaling, as the app's page shows them. */
  readonly addresses: readonly string[];
  /** Endpoints that the services page shows as passing after scaling. */
  readonly passing: number;
  /** From opening the page to live data. */
  readonly liveMs: number;
  /** From Apply to the new number in the row. */
  readonly followedMs: number;
  /** From Apply to all instances healthy. */
  readonly healthyMs: number;
}

/** Flags of a browser without sandbox, GPU and traffic of its own. */
export const CHROMIUM_FLAGS: readonly string[] = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Throws AppError `unavailable` that names what it waited for, or what the browser complained about. */
export async function checkConsole(check: ConsoleCheck): Promise<ConsoleCheckReport> {
  const browser = await launchChromium(check.chromium ?? "/usr/bin/chromium");
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1400, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(check.timeoutMs ?? 60_000);
    const complaints = watchComplaints(page);
    try {
      const report = await walk(page, check);
      if (complaints.length > 0)
        throw new AppError("unavailable", `Cannot accept the console: ${complaints.join("; ")}`);
      return report;
    } catch (error) {
      if (check.failureImage !== undefined) await page.screenshot({ path: check.failureImage });
      throw error;
    }
  } finally {
    await browser.close();
  }
}

export async function launchChromium(executablePath: string): Promise<Browser> {
  try {
    return await chromium.launch({ executablePath, args: [...CHROMIUM_FLAGS] });
  } catch (cause) {
    const hint = "Install it: apt-get install chromium";
    throw new AppError("unavailable", `Cannot start the browser ${executablePath}`, { cause, hint });
  }
}

/** Errors of scripts, of the content policy, and of requests, as they come. */
export function watchComplaints(page: Page): string[] {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(`script error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`browser error: ${message.text()}`);
  });
  return complaints;
}

async function walk(page: Page, check: ConsoleCheck): Promise<ConsoleCheckReport> {
  const openedAtMs = performance.now();
  await page.goto(`${check.url}#token=${encodeURIComponent(check.token)}`);
  await seen(page.locator('[data-connection="live"]'), "the console to be live");
  const liveMs = performance.now() - openedAtMs;
  if (page.url().includes("token"))
    throw new AppError("unavailable", "Cannot accept the console: the token stayed in the address");

  await visit(page, "Hosts");
  for (const host of check.hosts)
    await seen(page.locator(`tr[data-host="${host}"]`).getByText("up"), `host ${host} to be up`);
  const hosts = await page.locator("tr[data-host]").count();

  await visit(page, "Apps");
  const row = page.locator(`tr[data-app="${check.app}"]`);
  await seen(row, `app ${check.app}`);
  const input = row.getByRole("textbox", { name: "Instances of" });
  const before = Number(await input.inputValue());
  await seen(row.getByText(tally(before)), `${before} ready instances`);
  await input.fill(String(check.scaleTo));
  const appliedAtMs = performance.now();
  await row.getByRole("button", { name: "Apply" }).click();
  await seen(row.getByText(`of ${check.scaleTo} `), `the row to follow to ${check.scaleTo}`);
  const followedMs = performance.now() - appliedAtMs;
  await seen(row.getByText(tally(check.scaleTo)), `${check.scaleTo} ready instances`);
  const healthyMs = performance.now() - appliedAtMs;

  await row.getByRole("link").first().click();
  const instances = page.locator("tr[data-instance]");
  await seenCount(instances, check.scaleTo, "instances on the app's page");
  const addresses = await instances.locator(".copy code").allTextContents();
  if (new Set(addresses).size !== check.scaleTo) {
    throw new AppError(
      "unavailable",
      `Cannot accept the console: ${check.scaleTo} instances show the addresses ${addresses.join(", ")}`,
    );
  }
  await visit(page, "Services");
  for (const address of addresses) {
    const endpoint = page.locator(`tr[data-endpoint="${address}"]`);
    await seen(endpoint.getByText("passing").first(), `endpoint ${address} to pass`);
  }
  const report = { hosts, before, after: check.scaleTo, addresses, passing: addresses.length };
  return {
    ...report,
    liveMs: Math.round(liveMs),
    followedMs: Math.round(followedMs),
    healthyMs: Math.round(healthyMs),
  };
}

/** "4 of 4 healthy", or "running" where the app has no checks, with nothing still to come or go. */
function tally(count: number): RegExp {
  return count === 0 ? /^suspended$/ : new RegExp(`^${count} of ${count} (healthy|running)$`);
}

async function visit(page: Page, name: string): Promise<void> {
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name }).click();
  await seen(page.getByRole("heading", { level: 1, name }), `the page ${name}`);
}

async function seen(locator: Locator, what: string): Promise<void> {
  try {
    await locator.first().waitFor();
  } catch (cause) {
    throw new AppError("unavailable", `Cannot see in the console: ${what}`, { cause });
  }
}

async function seenCount(locator: Locator, count: number, what: string): Promise<void> {
  await seen(locator.nth(count - 1), `${count} ${what}`);
  // Surplus ones may still be on their way out.
  try {
    await locator.nth(count).waitFor({ state: "detached" });
  } catch (cause) {
    throw new AppError("unavailable", `Cannot see in the console: no more than ${count} ${what}`, { cause });
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      url: { type: "string" },
      app: { type: "string" },
      "scale-to": { type: "string" },
      hosts: { type: "string" },
      chromium: { type: "string" },
      "failure-image": { type: "string" },
    },
  });
  const token = process.env["APOLLO_TOKEN"];
  if (values.url === undefined || values.app === undefined || token === undefined) {
    console.error("Usage: APOLLO_TOKEN=… console-check.ts --url URL --app ID [--scale-to N] [--hosts A,B]");
    process.exit(2);
  }
  try {
    const report = await checkConsole({
      url: values.url,
      token,
      app: values.app,
      scaleTo: Number(values["scale-to"] ?? "4"),
      hosts: (values.hosts ?? "").split(",").filter((host) => host !== ""),
      ...(values.chromium === undefined ? {} : { chromium: values.chromium }),
      ...(values["failure-image"] === undefined ? {} : { failureImage: values["failure-image"] }),
    });
    console.log(JSON.stringify(report));
  } catch (error) {
    console.error(describeError(error));
    process.exit(1);
  }
}
