/** Hosts that run the network and links parts on one switch, or behind a router, with faults to order. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseLastKnown } from "../../src/agent/last-known.ts";
import type { Peer } from "../../src/model/host.ts";
import type { HostId } from "../../src/model/ids.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { LinkReport } from "../../src/model/link.ts";
import type { Condition } from "../../src/model/wire.ts";
import type { LinkHostWish } from "./link-host.fixture.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab } from "./network-lab.ts";

const WAIT_MS = 60_000;
const STORY_LINES = 20;
const FIXTURE = new URL("link-host.fixture.ts", import.meta.url).pathname;
const PROBE_KEY = Buffer.alloc(32, 7).toString("base64url");

interface Told {
  readonly links: readonly LinkReport[];
  readonly conditions: readonly Condition[];
}

interface LabHost {
  readonly peer: Peer;
  readonly space: Namespace;
  stop: AbortController;
  running: Promise<unknown>;
  told: Told;
}

export class LinkLab {
  readonly #lab: NetworkLab;
  readonly #hosts = new Map<string, LabHost>();
  readonly #words: string[] = [];
  readonly #files = mkdtempSync(join(tmpdir(), "apollo-links-"));
  #switch: Namespace | null = null;

  constructor(name: string) {
    this.#lab = new NetworkLab(name);
  }

  /**
   * A switch, which is also the router between 192.0.2.0/24 and 198.51.100.0/24; one host for each name. Names that begin
   * with "r" are behind the router.
   */
  async open(names: readonly string[], { mtu = 1500 }: { readonly mtu?: number } = {}): Promise<void> {
    const middle = await this.#lab.addNamespace("switch");
    this.#switch = middle;
    for (const argv of [
      ["ip", "link", "add", "lan", "mtu", String(mtu), "type", "bridge"],
      ["ip", "address", "add", "192.0.2.254/24", "dev", "lan"],
      ["ip", "link", "set", "lan", "up"],
      ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
    ]) {
      await middle.runner.run(argv);
    }
    for (const [index, name] of names.entries()) {
      const number = index + 1;
      const routed = name.startsWith("r");
      const [address, router] = routed
        ? [`198.51.100.${number}`, "198.51.100.254"]
        : [`192.0.2.${number}`, "192.0.2.254"];
      const space = await this.#lab.addNamespace(name);
      const port = `to-${name}`;
      const far = { at: middle, device: port, ...(routed ? { address: `${router}/24` } : {}) };
      await this.#lab.wire({ at: space, device: "eth0", address: `${address}/24` }, far);
      await space.runner.run(["ip", "link", "set", "eth0", "mtu", String(mtu)]);
      // The switch is to see packets as they would be on a wire, not the kernel's bundles of them.
      await space.runner.run(["ethtool", "-K", "eth0", "tso", "off", "gso", "off"]);
      await middle.runner.run(["ip", "link", "set", port, "mtu", String(mtu)]);
      if (!routed) await middle.runner.run(["ip", "link", "set", port, "master", "lan"]);
      await space.runner.run(["ip", "route", "add", "default", "via", router]);
      const base = { id: `id-${name}` as HostId, name, address: parseIpv4(address), blocks: [`10.2.${number}.0/24`] };
      // As a host whose engine gives out all of its block.
      const peer = name === "b" ? { ...base, probeAddress: parseIpv4(`10.2.${number}.130`) } : base;
      const told = { links: [], conditions: [] };
      this.#hosts.set(name, { peer, space, stop: new AbortController(), running: Promise.resolve(), told });
    }
  }

  start(name: string): void {
    const host = this.#host(name);
    const wish: LinkHostWish = {
      name,
      hosts: [...this.#hosts.values()].map(({ peer }) => peer),
      probeKey: PROBE_KEY,
      file: `${this.#files}/${name}.json`,
    };
    const argv = ["env", "NO_COLOR=1", process.execPath, FIXTURE, JSON.stringify(wish)];
    const onLine = (line: string): void => {
      if (!line.startsWith("{")) this.#words.push(`${name}: ${line}`);
      else {
        host.told = JSON.parse(line) as Told;
        const modes = host.told.links.map(({ peer, mode, via, up }) => `${peer} ${mode} ${via ?? ""} ${up}`);
        this.#words.push(`${Math.round(performance.now())} ${name}: ${modes.join(", ")}`);
      }
    };
    host.running = host.space.runner.follow(argv, onLine, host.stop.signal);
  }

  /** As when the agent is stopped: what it made in the kernel stays. */
  async stop(name: string): Promise<void> {
    const host = this.#host(name);
    host.stop.abort();
    await host.running.catch(() => undefined);
    host.stop = new AbortController();
    host.told = { links: [], conditions: [] };
  }

  space(name: string): Namespace {
    return this.#host(name).space;
  }

  address(name: string): string {
    return this.#host(name).peer.address;
  }

  /** A container on a host that runs: its address ends in .5. */
  async addContainer(name: string): Promise<Namespace> {
    const { space, peer } = this.#host(name);
    return this.#lab.addContainer(space, `${name}5`, (peer.blocks[0] ?? "").replace(".0/24", ".5"));
  }

  serve(at: Namespace, port: number, argv: string): Promise<void> {
    return this.#lab.serve(at, port, argv);
  }

  /** Rules in the switch's filter; [] heals. */
  async filter(rules: readonly string[]): Promise<void> {
    const text = [
      "table bridge faults",
      "delete table bridge faults",
      "table bridge faults {",
      "  chain forward {",
      "    type filter hook forward priority 0; policy accept;",
      ...rules.map((rule) => `    ${rule}`),
      "  }",
      "}",
      "",
    ].join("\n");
    await this.#middle().runner.run(["nft", "-f", "-"], { stdin: text });
  }

  link(from: string, to: string): LinkReport | null {
    return this.#host(from).told.links.find((link) => link.peer === to) ?? null;
  }

  /** Whether the host's file has it by now that packets to that peer go through another host. */
  async hasNotedRelay(name: string, to: string): Promise<boolean> {
    const { links = [] } = parseLastKnown(await Bun.file(`${this.#files}/${name}.json`).text());
    return links.some(([id, { relay }]) => id === this.#host(to).peer.id && relay !== null);
  }

  conditions(name: string): readonly Condition[] {
    return this.#host(name).told.conditions;
  }

  /** Resolves when it holds; gives the milliseconds that it took. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<number> {
    const startMs = performance.now();
    while (!(await holds())) {
      if (performance.now() - startMs > WAIT_MS)
        throw new Error(`${what} did not come within ${WAIT_MS} ms\n${this.story()}`);
      await Bun.sleep(50);
    }
    return performance.now() - startMs;
  }

  /** What the hosts know and said last, for an error. */
  story(): string {
    const links = [...this.#hosts.values()].map(({ peer, told }) => `${peer.name}: ${JSON.stringify(told)}`);
    return [...links, ...this.#words.slice(-STORY_LINES)].join("\n");
  }

  async close(): Promise<void> {
    for (const { stop } of this.#hosts.values()) stop.abort();
    await Promise.allSettled([...this.#hosts.values()].map(({ running }) => running));
    await this.#lab.close();
    rmSync(this.#files, { recursive: true, force: true });
  }

  leftovers(): Promise<readonly string[]> {
    return this.#lab.leftovers();
  }

  #host(name: string): LabHost {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`There is no host ${name}`);
    return host;
  }

  #middle(): Namespace {
    if (this.#switch === null) throw new Error("The lab is not open");
    return this.#switch;
  }
}
