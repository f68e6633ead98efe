import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { ContainerSpec, Engine, EngineEvent } from "../platform/ports/engine.ts";
import { containerSpec } from "./plain-container.ts";

/** An engine to try, with what the suite needs to know of its world. */
export interface EngineUnderTest {
  readonly engine: Engine;
  /** Runs until it is stopped, ends within a second on SIGTERM or is killed; exposes 8080/tcp, sets FROM_IMAGE=yes. */
  readonly image: string;
  /** Not on the host; the registry answers that it has no such image. */
  readonly missingImage: string;
  /** Not on the host, in the registry. */
  readonly pullableImage: string;
  /** Restarts the engine as an operator would, containers and all. */
  readonly restartEngine: () => Promise<void>;
  /** Ends the main process of a container from outside, as a crash would. */
  readonly crash: (containerId: string, exitCode: number) => Promise<void>;
  readonly stop: () => Promise<void>;
}

const NETWORK = "apollo";
const GATEWAY = parseIpv4("10.2.1.1");
const DEADLINE_MS = 40_000;

/** What every engine adapter and the fake must do. Run against both, so that the fake cannot drift. */
export function engineContract(name: string, open: () => Promise<EngineUnderTest>): void {
  describe(`engine contract: ${name}`, () => {
    let world: EngineUnderTest;
    let engine: Engine;
    let count = 0;
    const spec = (change: Partial<ContainerSpec> = {}): ContainerSpec => ({
      ...baseSpec(world.image, `c${count++}`),
      ...change,
    });
    const startNew = async (change: Partial<ContainerSpec> = {}): Promise<string> => {
      const id = await engine.createContainer(spec(change));
      await engine.startContainer(id);
      return id;
    };

    beforeAll(async () => {
      world = await open();
      engine = world.engine;
      await engine.createNetwork({
        name: NETWORK,
        subnet: "10.2.0.0/16",
        ipRange: "10.2.1.0/24",
        gateway: GATEWAY,
        reserved: { network: parseIpv4("10.2.1.0"), last: parseIpv4("10.2.1.255") },
        options: { "com.docker.network.bridge.name": "apollo0" },
      });
    }, 120_000);
    afterAll(async () => {
      await world.stop();
    }, 60_000);

    test("info() tells version and capacity", async () => {
      const info = await engine.info();
      expect(info.version).not.toBe("");
      expect(info.cpus).toBeGreaterThan(0);
      expect(info.memoryBytes).toBeGreaterThan(0);
    });

    test("a container goes from created to running to gone, with what it was given", async () => {
      const address = parseIpv4("10.2.1.20");
      const id = await engine.createContainer(
        spec({ name: "whole", address, env: { COLOUR: "a=b c" }, labels: { "apollo.instance": "i1" } }),
      );
      const created = await engine.inspectContainer("whole");
      expect(created).toMatchObject({
        id,
        name: "whole",
        state: "created",
        startedAtMs: null,
        exitCode: null,
        pid: null,
      });
      expect(created?.fixedAddress).toBe(address);
      expect(created?.addresses).toEqual({});
      await engine.startContainer(id);
      await engine.startContainer(id);
      const listed = (await engine.listContainers()).find((container) => container.id === id);
      expect(listed).toMatchObject({
        state: "running",
        image: world.image,
        addresses: { [NETWORK]: address },
        oomKilled: false,
      });
      expect(listed?.env).toMatchObject({ COLOUR: "a=b c", FROM_IMAGE: "yes" });
      expect(listed?.labels).toMatchObject({ "apollo.instance": "i1" });
      expect(listed?.exposedPorts).toContainEqual({ port: 8080, protocol: "tcp" });
      expect(listed?.startedAtMs).toBeGreaterThan(0);
      expect(listed?.pid).toBeGreaterThan(0);
      expect(
        Object.values((await engine.listNetworks()).find(({ name }) => name === NETWORK)?.containers ?? {}),
      ).toEqual([address]);
      await engine.stopContainer(id, 0);
      await engine.stopContainer(id, 0);
      const stopped = (await engine.listContainers()).find((container) => container.id === id);
      expect(stopped).toMatchObject({ state: "exited", exitCode: 137, addresses: {}, fixedAddress: address });
      await engine.removeContainer(id);
      await engine.removeContainer(id);
      expect(await engine.inspectContainer(id)).toBeNull();
      await engine.stopContainer(id, 0);
      await expectCode(engine.startContainer(id), "not-found", "container");
    });

    test("a name, a fixed address and a host port can be held once", async () => {
      const address = parseIpv4("10.2.1.30");
      const first = await startNew({
        name: "taken",
        address,
        publish: [{ port: 8080, protocol: "tcp", hostPort: 18_080 }],
      });
      await expectCode(engine.createContainer(spec({ name: "taken" })), "conflict", "name");
      const second = await engine.createContainer(spec({ address }));
      await expectCode(engine.startContainer(second), "conflict", "address");
      expect((await engine.inspectContainer(second))?.state).toBe("created");
      const third = await engine.createContainer(
        spec({ publish: [{ port: 8080, protocol: "tcp", hostPort: 18_080 }] }),
      );
      await expectCode(engine.startContainer(third), "conflict", "port");
      await engine.removeContainer(first);
      await engine.startContainer(second);
      await engine.startContainer(third);
      for (const id of [second, third]) await engine.removeContainer(id);
    }, 60_000);

    test("the engine chooses addresses inside the range, and none that is reserved", async () => {
      const id = await startNew({ address: null });
      const address = (await engine.inspectContainer(id))?.addresses[NETWORK] ?? "";
      expect(address).toMatch(/^10\.2\.1\.\d+$/);
      expect(["10.2.1.0", "10.2.1.1", "10.2.1.255"]).not.toContain(address);
      expect((await engine.inspectContainer(id))?.fixedAddress).toBeNull();
      await engine.removeContainer(id);
    });

    test("what cannot be made says which thing is missing", async () => {
      await expectCode(engine.createContainer(spec({ image: world.missingImage })), "not-found", "image");
      const lost = engine
        .createContainer(spec({ name: "no-net", network: "nowhere" }))
        .then((id) => engine.startContainer(id));
      await expectCode(lost, "not-found", "network");
      const leftOver = await engine.inspectContainer("no-net");
      if (leftOver !== null) await engine.removeContainer(leftOver.id);
      const id = await engine.createContainer(spec({ argv: ["/no/such/program"] }));
      await expectCode(engine.startContainer(id), "invalid", "command");
      await engine.removeContainer(id);
    });

    test("images are pulled; a missing one is told from a registry that does not answer", async () => {
      expect(await engine.hasImage(world.image)).toBe(true);
      expect(await engine.hasImage(world.pullableImage)).toBe(false);
      await engine.pullImage(world.pullableImage);
      expect(await engine.hasImage(world.pullableImage)).toBe(true);
      const error = await expectCode(engine.pullImage(world.missingImage), "not-found", "image");
      expect(error.message).toContain(world.missingImage);
      expect(error.hint).toContain("Push the image");
      await expectCode(engine.pullImage("127.0.0.1:1/app:1"), "unavailable", "image");
      await expectCode(engine.pullImage("Not A Name"), "invalid", "image");
    }, 60_000);

    test("events tell of starts and exits, with the exit code", async () => {
      const watched = watchEvents(engine);
      await watched.until("the first lost", (events) => events.some(({ kind }) => kind === "lost"));
      const id = await startNew({ argv: ["sh", "-c", "exit 3"] });
      await watched.until("die", (events) =>
        events.some((event) => event.kind === "container" && event.action === "die"),
      );
      const own = watched.events.filter((event) => event.kind === "container" && event.id === id);
      expect(own.map((event) => event.kind === "container" && event.action)).toEqual(["create", "start", "die"]);
      expect(own.at(-1)).toMatchObject({ exitCode: 3 });
      expect(await engine.inspectContainer(id)).toMatchObject({ state: "exited", exitCode: 3 });
      await engine.removeContainer(id);
      await watched.end();
    }, 60_000);

    test("restart unless-stopped: after a crash it runs again at its address, after a stop it does not", async () => {
      const address = parseIpv4("10.2.1.40");
      const id = await startNew({ address, restart: "unless-stopped" });
      const before = await engine.inspectContainer(id);
      await world.crash(id, 137);
      await eventually("a second start", async () => {
        const now = await engine.inspectContainer(id);
        return now?.state === "running" && (now.startedAtMs ?? 0) > (before?.startedAtMs ?? 0);
      });
      const listed = (await engine.listContainers()).find((container) => container.id === id);
      expect(listed?.startedAtMs).toBeGreaterThan(before?.startedAtMs ?? 0);
      expect(listed?.addresses[NETWORK]).toBe(address);
      await engine.stopContainer(id, 0);
      expect((await engine.inspectContainer(id))?.state).toBe("exited");
      await engine.removeContainer(id);
    }, 60_000);

    test("setRestart() holds for the next crash", async () => {
      const id = await startNew({ restart: "no" });
      expect((await engine.listContainers()).find((container) => container.id === id)?.restart).toBe("no");
      await engine.setRestart(id, "unless-stopped");
      const changed = (await engine.listContainers()).find((container) => container.id === id);
      expect(changed).toMatchObject({ state: "running", restart: "unless-stopped" });
      await world.crash(id, 137);
      await eventually("a second start", async () => {
        const now = await engine.inspectContainer(id);
        return now?.state === "running" && (now.startedAtMs ?? 0) > (changed?.startedAtMs ?? 0);
      });
      await engine.removeContainer(id);
      await expectCode(engine.setRestart(id, "no"), "not-found", "container");
    }, 60_000);

    test("a stop during the wait for a restart ends it for good", async () => {
      const id = await startNew({ argv: ["sh", "-c", "exit 5"], restart: "unless-stopped" });
      await eventually("the wait", async () => (await engine.inspectContainer(id))?.state === "restarting");
      await engine.stopContainer(id, 0);
      await eventually("the end", async () => (await engine.inspectContainer(id))?.state === "exited");
      await engine.removeContainer(id);
    }, 60_000);

    test("a restarted engine says lost and runs again what was not stopped", async () => {
      const watched = watchEvents(engine);
      await watched.until("the first lost", (events) => events.some(({ kind }) => kind === "lost"));
      const address = parseIpv4("10.2.1.50");
      const kept = await startNew({ address, restart: "unless-stopped" });
      const plain = await startNew({ restart: "no" });
      const stopped = await startNew({ restart: "unless-stopped" });
      await engine.stopContainer(stopped, 0);
      await world.restartEngine();
      await watched.until("a second lost", (events) => events.filter(({ kind }) => kind === "lost").length >= 2);
      const states = new Map((await engine.listContainers()).map((container) => [container.id, container]));
      expect(states.get(kept)).toMatchObject({ state: "running", addresses: { [NETWORK]: address } });
      expect(states.get(plain)?.state).toBe("exited");
      expect(states.get(stopped)?.state).toBe("exited");
      const ending = watched.events.filter((event) => event.kind === "container" && event.id === kept);
      const actions = ending.map((event) => (event.kind === "container" ? event.action : ""));
      // An engine that ends says so of each container; that is how its deaths are told from crashes.
      expect(actions.indexOf("kill")).toBeGreaterThan(0);
      expect(actions.indexOf("kill")).toBeLessThan(actions.indexOf("die"));
      expect(ending.find((event) => event.kind === "container" && event.action === "kill")).toMatchObject({
        signal: 15,
      });
      for (const id of [kept, plain, stopped]) await engine.removeContainer(id);
      await watched.end();
    }, 60_000);

    test("logs() tells the two streams apart and takes the tail", async () => {
      const id = await startNew({ argv: ["sh", "-c", "echo one; echo two >&2; echo three; sleep 1000"] });
      const out = output();
      await eventually("all lines", async () => {
        out.clear();
        await engine.logs(id, { follow: false, tail: null, sinceMs: null }, out.sink, new AbortController().signal);
        return out.text("stdout") === "one\nthree\n" && out.text("stderr") === "two\n";
      });
      out.clear();
      await engine.logs(id, { follow: false, tail: 1, sinceMs: null }, out.sink, new AbortController().signal);
      expect(out.text("stdout") + out.text("stderr")).toMatch(/^(three|two)\n$/);
      const following = new AbortController();
      out.clear();
      const followed = engine.logs(id, { follow: true, tail: null, sinceMs: null }, out.sink, following.signal);
      await eventually("the followed lines", () => Promise.resolve(out.text("stdout") === "one\nthree\n"));
      following.abort();
      await followed;
      await engine.removeContainer(id);
      await expectCode(
        engine.logs(id, { follow: false, tail: 1, sinceMs: null }, out.sink, following.signal),
        "not-found",
      );
    }, 60_000);

    test("exec() runs a program to its exit code, with input and without", async () => {
      const id = await startNew();
      const out = output();
      const plain = await engine.exec(
        id,
        { argv: ["sh", "-c", "echo hi; echo bad >&2; exit 4"], tty: false, stdin: false },
        out.sink,
      );
      expect(await plain.done).toBe(4);
      expect([out.text("stdout"), out.text("stderr")]).toEqual(["hi\n", "bad\n"]);
      out.clear();
      const cat = await engine.exec(id, { argv: ["cat"], tty: false, stdin: true }, out.sink);
      cat.write(new TextEncoder().encode("typed"));
      cat.endInput();
      expect(await cat.done).toBe(0);
      expect(out.text("stdout")).toBe("typed");
      const hanging = await engine.exec(id, { argv: ["sleep", "1000"], tty: false, stdin: false }, out.sink);
      hanging.close();
      expect(await hanging.done).toBeNull();
      await engine.removeContainer(id);
      await expectCode(
        engine.exec(id, { argv: ["true"], tty: false, stdin: false }, out.sink),
        "not-found",
        "container",
      );
    }, 60_000);

    test.each([
      ["first", 0],
      ["middle", 8],
      ["last", 24],
    ] as const)(
      "networks: the %s block of a range, with its ends reserved",
      async (_, start) => {
        const at = (offset: number): Ipv4 => parseIpv4(`10.9.1.${start + offset}`);
        await engine.createNetwork({
          name: "edge",
          subnet: "10.9.1.0/27",
          ipRange: `10.9.1.${start}/29`,
          gateway: at(1),
          reserved: { network: at(0), broadcast: at(7) },
          options: {},
        });
        expect((await engine.listNetworks()).find(({ name }) => name === "edge")).toMatchObject({ gateway: at(1) });
        await engine.removeNetwork("edge");
      },
      60_000,
    );

    test("networks: double, busy and missing", async () => {
      const other = {
        name: "other",
        subnet: "10.9.0.0/24",
        ipRange: "10.9.0.0/24",
        gateway: parseIpv4("10.9.0.1"),
        reserved: {},
        options: {},
      };
      await engine.createNetwork(other);
      await expectCode(engine.createNetwork(other), "conflict", "network");
      const found = (await engine.listNetworks()).find(({ name: label }) => label === "other");
      expect(found).toMatchObject({ driver: "bridge", subnet: "10.9.0.0/24", gateway: "10.9.0.1", containers: {} });
      const id = await startNew({ network: "other" });
      await expectCode(engine.removeNetwork("other"), "conflict", "network");
      await engine.removeContainer(id);
      await engine.removeNetwork("other");
      await engine.removeNetwork("other");
      expect((await engine.listNetworks()).some(({ name: label }) => label === "other")).toBe(false);
    }, 60_000);
  });
}

function baseSpec(image: string, name: string): ContainerSpec {
  return containerSpec({ name, image, network: NETWORK });
}

async function expectCode(attempt: Promise<unknown>, code: AppError["code"], object?: string): Promise<AppError> {
  const error = await attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AppError);
  const found = error as AppError;
  expect({ code: found.code, message: found.message }).toEqual({ code, message: found.message });
  if (object !== undefined)
    expect({ object: found.details["object"], message: found.message }).toEqual({ object, message: found.message });
  return found;
}

interface Output {
  readonly sink: (stream: "stdout" | "stderr", bytes: Uint8Array) => void;
  text(stream: "stdout" | "stderr"): string;
  clear(): void;
}

function output(): Output {
  let pieces: { stream: string; text: string }[] = [];
  return {
    sink: (stream, bytes) => void pieces.push({ stream, text: new TextDecoder().decode(bytes) }),
    text: (stream) =>
      pieces
        .filter((piece) => piece.stream === stream)
        .map((piece) => piece.text)
        .join(""),
    clear: () => {
      pieces = [];
    },
  };
}

interface Watched {
  readonly events: readonly EngineEvent[];
  until(what: string, holds: (events: readonly EngineEvent[]) => boolean): Promise<void>;
  end(): Promise<void>;
}

function watchEvents(engine: Engine): Watched {
  const events: EngineEvent[] = [];
  const abort = new AbortController();
  const watching = engine.watch((event) => void events.push(event), abort.signal);
  return {
    events,
    until: (what, holds) => eventually(what, () => Promise.resolve(holds(events))),
    end: async () => {
      abort.abort();
      await watching;
    },
  };
}

async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`Waited ${DEADLINE_MS / 1000} s for ${what}`);
    await Bun.sleep(10);
  }
}
