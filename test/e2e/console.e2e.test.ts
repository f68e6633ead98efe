/** The built console in a real browser, against a cluster that exists in memory and moves when a test says so. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
// oxlint-disable-next-line import/default -- imported as text, not as a module
import AUDIT from "../console/audit-page.js" with { type: "text" };
import { FakeCluster } from "../console/fake-cluster.ts";
import { FakeServer } from "../console/fake-server.ts";
import { buildConsole, SCRIPT_GZIP_BYTES_MAX } from "../../tools/build-console.ts";
import { checkConsole, launchChromium, watchComplaints } from "./console-check.ts";

setDefaultTimeout(60_000);
const TOKEN = "a-token/with+signs";
const APP = "/nodejs-rest-api";
const WAIT_MS = 20_000;

let browser: Browser;

beforeAll(async () => {
  const build = await buildConsole(new URL("../../dist/console", import.meta.url).pathname);
  expect(build.scriptGzipBytes).toBeLessThan(SCRIPT_GZIP_BYTES_MAX);
  browser = await launchChromium("/usr/bin/chromium");
});
afterAll(() => browser.close());

interface Visit {
  readonly page: Page;
  readonly server: FakeServer;
  readonly complaints: string[];
}

/** A server and a signed-in page; both end with the test. */
async function visit(
  run: (visit: Visit) => Promise<void>,
  options: { dark?: boolean; hash?: string } = {},
): Promise<void> {
  const apps = [
    { id: APP, instances: 2 },
    { id: "/shop/web", instances: 3 },
    { id: "/worker", instances: 1, checked: false },
  ];
  const server = await FakeServer.start(new FakeCluster({ hosts: 3, apps }), TOKEN);
  const context = await browser.newContext({
    colorScheme: options.dark === true ? "dark" : "light",
    reducedMotion: "reduce",
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const complaints = watchComplaints(page);
    await page.goto(
      `${server.url}${options.hash ?? "#"}${options.hash === undefined ? "" : "&"}token=${encodeURIComponent(TOKEN)}`,
    );
    await page.locator('[data-connection="live"]').waitFor();
    await run({ page, server, complaints });
  } finally {
    await context.close();
    await server.stop();
  }
}

test("a link signs in, and the token leaves the address and the history", async () => {
  await visit(async ({ page, server, complaints }) => {
    expect(page.url()).toBe(`${server.url}#/`);
    expect(server.requests[0]).toEqual({
      method: "POST",
      path: "/api/session",
      body: { token: TOKEN },
      consoleHeader: "1",
    });
    await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Hosts" }).click();
    expect(await page.locator("tr[data-host]").count()).toBe(3);
    await page.goBack();
    expect(page.url()).not.toContain("token");
    expect(await page.title()).toBe("Overview · Apollo");
    expect(complaints).toEqual([]);
  });
});

test("scale: nothing before Apply, then a request, then the row follows the feed", async () => {
  await visit(
    async ({ page, server, complaints }) => {
      const row = page.locator(`tr[data-app="${APP}"]`);
      await row.getByText("2 of 2 healthy").waitFor();
      const more = row.getByRole("button", { name: "One instance more of nodejs-rest-api" });
      await more.click();
      await more.click();
      expect(server.requests.filter((request) => request.path.endsWith("/scale"))).toEqual([]);
      await row.getByRole("button", { name: "Apply: scale nodejs-rest-api to 4" }).click();
      await row.getByText("2 of 4 healthy · 2 starting").waitFor();
      expect(server.requests.filter((request) => request.method === "POST").at(-1)).toEqual({
        method: "POST",
        path: "/api/apps/nodejs-rest-api/scale",
        body: { instances: 4 },
        consoleHeader: "1",
      });
      await row.getByText("deploying").waitFor();
      while (server.cluster.step()) {
        // Until all have started.
      }
      await row.getByText("4 of 4 healthy").waitFor();
      await row
        .getByRole("button", { name: /^Apply/ })
        .and(page.locator(":disabled"))
        .waitFor();
      expect(complaints).toEqual([]);
    },
    { hash: "#/apps" },
  );
});

test("a refusal shows its message and hint beside the app, and the control stays as it was", async () => {
  await visit(
    async ({ page, server }) => {
      server.refusals.set("POST /api/apps/nodejs-rest-api/scale", {
        status: 409,
        error: { code: "conflict", message: "Cannot scale: a deployment is under way", hint: "apollo deployment list" },
      });
      const row = page.locator(`tr[data-app="${APP}"]`);
      await row.getByRole("textbox").fill("7");
      await row.getByRole("textbox").press("Enter");
      const alert = page.getByRole("alert");
      await alert.getByText("Cannot scale: a deployment is under way").waitFor();
      await alert.getByText("apollo deployment list").waitFor();
      expect(await row.getByRole("textbox").inputValue()).toBe("7");
      await alert.getByRole("button", { name: "Dismiss" }).click();
      await alert.waitFor({ state: "detached" });
    },
    { hash: "#/apps" },
  );
});

test("destroy asks first; Escape keeps the app, the named button removes it", async () => {
  await visit(
    async ({ page, server }) => {
      const row = page.locator(`tr[data-app="${APP}"]`);
      await row.getByRole("button", { name: "Destroy" }).click();
      await page
        .getByRole("dialog", { name: "Destroy nodejs-rest-api?" })
        .getByText("2 running instances will stop")
        .waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "hidden" });
      expect(server.requests.some((request) => request.method === "DELETE")).toBe(false);
      await row.getByRole("button", { name: "Destroy" }).click();
      await page.getByRole("button", { name: "Destroy nodejs-rest-api" }).click();
      await row.waitFor({ state: "detached" });
      expect(server.cluster.apps.has(APP)).toBe(false);
    },
    { hash: "#/apps" },
  );
});

test("a lost server is said, and a new one found without a reload", async () => {
  await visit(
    async ({ page, server }) => {
      await server.stop();
      await page.locator('[data-connection="reconnecting"]').waitFor();
      await page.getByText(/shown state is \d+ s old/).waitFor();
      expect(await page.locator("tr[data-app]").count()).toBe(3);
      server.cluster.scale("/shop/web", 5);
      server.listen();
      await page.locator('[data-connection="live"]').waitFor();
      await page.locator('tr[data-app="/shop/web"]').getByText("3 of 5 healthy · 2 starting").waitFor();
      expect(await page.locator("tr[data-app]").count()).toBe(3);
    },
    { hash: "#/apps" },
  );
});

test("a lost message makes a new snapshot, not a wrong picture", async () => {
  await visit(
    async ({ page, server }) => {
      server.cluster.skipSequence();
      server.cluster.scale(APP, 3);
      await page.locator(`tr[data-app="${APP}"]`).getByText("2 of 3 healthy · 1 starting").waitFor();
      await page.locator('[data-connection="live"]').waitFor();
    },
    { hash: "#/apps" },
  );
});

test("the map: pointing names an instance, a click opens it, and it stays open when it goes", async () => {
  await visit(async ({ page, server }) => {
    const [instance] = server.cluster.instances.values();
    if (instance === undefined) throw new Error("The fake cluster has no instance");
    const canvas = page.locator("canvas");
    const label = await canvas.getAttribute("aria-label");
    expect(label).toContain("Map of 3 hosts and 6 instances");
    const hit = JSON.stringify({ kind: "instance", key: instance.id });
    const spot = await page.evaluate<{ x: number; y: number; width: number; height: number }>(
      `document.querySelector("canvas").locateOnMap(${hit})`,
    );
    const position = { x: spot.x + spot.width / 2, y: spot.y + spot.height / 2 };
    await canvas.hover({ position });
    await page
      .locator(".map-tip")
      .getByText(`healthy · ${instance.address ?? ""}:8080`)
      .waitFor();
    await canvas.click({ position });
    const panel = page.getByRole("region", { name: "Details of the selection" });
    await panel.getByText(instance.address ?? "", { exact: true }).waitFor();
    expect(decodeURIComponent(page.url())).toContain(`select=instance:${instance.id}`);
    server.cluster.scale(APP, 0);
    while (server.cluster.step()) {
      // Until all have stopped.
    }
    await panel.getByText("No longer there").waitFor();
    await page.reload();
    await panel.getByText("There is no such instance now").waitFor();
  });
});

test("the keyboard alone: search, map, details, table", async () => {
  await visit(async ({ page }) => {
    await page.keyboard.press("/");
    await page.keyboard.type("host:h2");
    expect(page.url()).toContain("q=host%3Ah2");
    await page.keyboard.press("Escape");
    expect(page.url()).not.toContain("q=");
    await page.locator("canvas").focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    const panel = page.getByRole("region", { name: "Details of the selection" });
    await panel.getByRole("link", { name: "h1" }).waitFor();
    await page.keyboard.press("Escape");
    await panel.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Table" }).press("Enter");
    await page.getByRole("table", { name: "All instances" }).waitFor();
    expect(await page.locator("tr[data-instance]").count()).toBe(6);
  });
});

test("signing out forgets, a wrong token is refused, the right one goes on", async () => {
  await visit(async ({ page }) => {
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Access token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").getByText("Cannot sign in: the token is not known").waitFor();
    await page.getByLabel("Access token").fill(TOKEN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator('[data-connection="live"]').waitFor();
  });
});

/** Each page with something that only it shows. */
const PAGES: readonly (readonly [string, string])[] = [
  ["#/", ".key"],
  ["#/?as=table", ".overview-table table"],
  ["#/?select=host:h1", ".facts"],
  ["#/apps", ".apps-table"],
  ["#/apps/nodejs-rest-api", ".why p"],
  ["#/services", "[data-service]"],
  ["#/hosts", "[data-host]"],
];

test("every page has names, heads and contrast, in both themes", async () => {
  for (const dark of [false, true]) {
    await visit(
      async ({ page, server, complaints }) => {
        const [instance] = server.cluster.instances.values();
        if (instance !== undefined)
          server.cluster.update({ ...instance, health: "unhealthy", message: "answered 503" });
        for (const [hash, landmark] of PAGES) {
          await page.goto(`${server.url}${hash}`);
          await page.locator(landmark).first().waitFor();
          expect([hash, dark, await page.evaluate<string[]>(AUDIT)]).toEqual([hash, dark, []]);
        }
        expect(complaints).toEqual([]);
      },
      { dark },
    );
  }
});

test("the audit sees what it is there for", async () => {
  await visit(async ({ page }) => {
    await page.evaluate(`document.querySelector("main").insertAdjacentHTML("beforeend",
      '<button class="x"></button><p class="waiting" id="main">faint</p><table><tbody></tbody></table>')`);
    await page.evaluate(
      `document.querySelector("p.waiting").style.color = "color-mix(in srgb, var(--quiet) 40%, var(--ground))"`,
    );
    const found = await page.evaluate<string[]>(AUDIT);
    const kinds = new Set(found.map((line) => line.split(/[:\d]/)[0]?.trim()));
    const all = ["contrast", "id twice", "no caption", "no column heads", "no name", "smaller than"];
    expect(kinds).toEqual(new Set(all));
  });
});

test("the theme button changes the theme and is remembered", async () => {
  await visit(async ({ page }) => {
    const ground = (): Promise<string> =>
      page.evaluate<string>("getComputedStyle(document.documentElement).backgroundColor");
    const light = await ground();
    await page.getByRole("button", { name: "Use dark theme" }).click();
    const dark = await ground();
    expect(dark).not.toBe(light);
    await page.reload();
    await page.getByRole("button", { name: "Use light theme" }).waitFor();
    expect(await ground()).toBe(dark);
  });
});

test("nothing is inline and nothing comes from elsewhere", async () => {
  await visit(async ({ page, server }) => {
    const response = await page.request.get(server.url);
    expect(response.headers()["content-security-policy"]).toContain("default-src 'self'");
    expect(await page.evaluate<number>(`document.querySelectorAll("script:not([src]), style").length`)).toBe(0);
    const names = await page.evaluate<string[]>(`performance.getEntriesByType("resource").map((entry) => entry.name)`);
    expect(names.filter((name) => !name.startsWith(new URL(server.url).origin))).toEqual([]);
  });
});

test("checkConsole() scales by the console and reports what followed", async () => {
  const server = await FakeServer.start(new FakeCluster({ hosts: 3, apps: [{ id: APP, instances: 2 }] }), TOKEN);
  const stepping = setInterval(() => server.cluster.step(), 20);
  try {
    const report = await checkConsole({
      url: server.url,
      token: TOKEN,
      app: APP,
      scaleTo: 4,
      hosts: ["h1", "h2", "h3"],
      timeoutMs: WAIT_MS,
    });
    expect({ ...report, liveMs: 0, followedMs: 0, healthyMs: 0 }).toEqual({
      hosts: 3,
      before: 2,
      after: 4,
      addresses: ["10.2.1.2:8080", "10.2.2.2:8080", "10.2.3.2:8080", "10.2.1.3:8080"],
      passing: 4,
      liveMs: 0,
      followedMs: 0,
      healthyMs: 0,
    });
    expect(report.healthyMs).toBeGreaterThanOrEqual(report.followedMs);
    const missing = { url: server.url, token: TOKEN, app: "/nope", scaleTo: 1, hosts: [], timeoutMs: 5000 };
    const error: unknown = await checkConsole(missing).catch((reason: unknown) => reason);
    expect(String(error)).toContain("Cannot see in the console: app /nope");
  } finally {
    clearInterval(stepping);
    await server.stop();
  }
});
