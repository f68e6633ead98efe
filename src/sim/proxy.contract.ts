import { expect, test } from "bun:test";
import { desiredProxy, type DesiredProxy } from "../ingress/plan-proxy.ts";
import type { ProxySettings } from "../ingress/proxy-settings.ts";
import { endpointFixture as endpoint } from "../ingress/endpoint.fixture.ts";
import { AppError } from "../model/error.ts";
import type { Proxy, ProxyAction } from "../platform/ports/proxy.ts";

/** What holds for every `Proxy`; run against the fake and the real one, so that the fake cannot drift. */
export function proxyContract(
  name: string,
  make: () => { readonly proxy: Proxy; readonly settings: ProxySettings },
): void {
  const contract = (title: string, body: (proxy: Proxy, desired: DesiredProxy) => Promise<void>): void =>
    test(`${name} ${title}`, async () => {
      const { proxy, settings } = make();
      try {
        const endpoints = [endpoint({ container: "a", address: "127.0.0.2" })];
        await body(proxy, desiredProxy(endpoints, { ingressDomain: "example.com" }, settings));
      } finally {
        await proxy.stop();
      }
    });

  const load = ({ text, map, structure }: DesiredProxy): ProxyAction => ({ kind: "load", text, map, structure });
  const server = { backend: "svc_web", name: "fresh" } as const;
  const add = { kind: "add-server", ...server, address: "127.0.0.3", port: 8080 } as const;

  contract("observes nothing before the first load, and after stop", async (proxy, desired) => {
    expect(await proxy.observe()).toMatchObject({
      running: false,
      structure: null,
      servers: [],
      backends: [],
      map: {},
    });
    await proxy.apply(load(desired));
    await proxy.stop();
    expect(await proxy.observe()).toMatchObject({
      running: false,
      structure: null,
      servers: [],
      backends: [],
      map: {},
    });
    await proxy.stop();
  });

  contract("runs what it loads and has it on disk", async (proxy, desired) => {
    await proxy.apply(load(desired));
    const state = await proxy.observe();
    expect(state).toMatchObject({
      running: true,
      structure: desired.structure,
      backends: ["svc_web"],
      map: desired.map,
    });
    expect(state.saved).toEqual({ text: desired.text, map: desired.map });
    const [name] = desired.backends[0]?.servers.map((one) => one.name) ?? [];
    expect(state.servers.map((one) => ({ ...one }))).toEqual([
      { backend: "svc_web", name: name ?? "", address: "127.0.0.2", port: 8080, state: "ready", sessions: 0, idle: 0 },
    ]);
  });

  contract("adds a server in maint, makes it ready, deletes it from maint only", async (proxy, desired) => {
    const state = async (): Promise<string | undefined> =>
      (await proxy.observe()).servers.find((one) => one.name === "fresh")?.state;
    await proxy.apply(load(desired));
    await proxy.apply(add);
    expect(await state()).toBe("maint");
    await proxy.apply({ kind: "set-server", ...server, state: "ready" });
    expect(await state()).toBe("ready");
    expect(await codeOf(proxy.apply({ kind: "delete-server", ...server }))).toBe("conflict");
    await proxy.apply({ kind: "set-server", ...server, state: "drain" });
    expect(await state()).toBe("drain");
    await proxy.apply({ kind: "set-server", ...server, state: "maint" });
    await proxy.apply({ kind: "delete-server", ...server });
    expect(await state()).toBeUndefined();
  });

  contract("deletes a server that came with the file, too", async (proxy, desired) => {
    await proxy.apply(load(desired));
    const name = desired.backends[0]?.servers[0]?.name ?? "";
    await proxy.apply({ kind: "set-server", backend: "svc_web", name, state: "maint" });
    await proxy.apply({ kind: "delete-server", backend: "svc_web", name });
    expect((await proxy.observe()).servers).toEqual([]);
  });

  contract("refuses a second server of a name, and what it does not have", async (proxy, desired) => {
    await proxy.apply(load(desired));
    await proxy.apply(add);
    expect(await codeOf(proxy.apply(add))).toBe("conflict");
    expect(await codeOf(proxy.apply({ ...add, backend: "svc_none" }))).toBe("not-found");
    expect(await codeOf(proxy.apply({ kind: "delete-server", backend: "svc_web", name: "none" }))).toBe("not-found");
    expect(await codeOf(proxy.apply({ kind: "set-server", backend: "svc_web", name: "none", state: "maint" }))).toBe(
      "not-found",
    );
    expect(await codeOf(proxy.apply({ kind: "delete-map", key: "none.example.com" }))).toBe("not-found");
  });

  contract("puts a name into the map once, changes and deletes it", async (proxy, desired) => {
    const value = async (): Promise<string | undefined> => (await proxy.observe()).map["x.example.com"];
    await proxy.apply(load(desired));
    await proxy.apply({ kind: "put-map", key: "x.example.com", value: "svc_web" });
    await proxy.apply({ kind: "put-map", key: "x.example.com", value: "svc_other" });
    expect(await value()).toBe("svc_other");
    await proxy.apply({ kind: "delete-map", key: "x.example.com" });
    expect(await value()).toBeUndefined();
  });

  contract("saves without changing what runs", async (proxy, desired) => {
    await proxy.apply(load(desired));
    const before = await proxy.observe();
    await proxy.apply({ kind: "save", text: `${desired.text}# more\n`, map: {} });
    expect(await proxy.observe()).toEqual({ ...before, saved: { text: `${desired.text}# more\n`, map: {} } });
  });

  contract("fails clearly when it does not run", async (proxy) => {
    expect(await codeOf(proxy.apply(add))).toBe("not-found");
  });
}

async function codeOf(promise: Promise<void>): Promise<string> {
  try {
    await promise;
    return "no error";
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}
