import { expect, test } from "bun:test";
import type { PolicyCountersJson } from "../api/native/shapes.ts";
import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { Holder } from "../model/holder.ts";
import type { HostId } from "../model/ids.ts";
import type { Ipv4 } from "../model/ip.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { NetworkConfig } from "../model/network-config.ts";
import { EMPTY_NETWORK_CONFIG, parseNetworkObject } from "../model/network-config.ts";
import type { PolicyAnswer } from "../network/policy/explain-policy.ts";
import { planPolicy } from "../network/policy/plan-policy.ts";
import { refusalCounter } from "../network/policy/render-policy.ts";
import type { Refusal } from "../platform/ports/rule-counters.ts";
import { recordingLog } from "../sim/agent-fixtures.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { AgentState } from "./agent-state.ts";
import { policyInput } from "./policy-input.ts";
import { createPolicyPart } from "./policy-part.ts";

const DB = parseNetworkObject("policy", { name: "db", from: [{ app: "web" }], to: [{ app: "db" }] });

function holder(host: string, container: string, address: string): Holder {
  return {
    id: `${host}:${container}:apollo`,
    address: parseIpv4(address),
    network: "apollo",
    host,
    container,
    instance: null,
    app: `/${container}`,
    services: [],
    labels: {},
  };
}

class Fixture {
  readonly clock = new VirtualClock();
  readonly state = new AgentState();
  readonly stop = new AbortController();
  packets: ReadonlyMap<string, number> = new Map();
  refusals: readonly Refusal[] = [];

  constructor() {
    const { state, clock } = this;
    const counters = { packets: async () => this.packets, refusals: async () => this.refusals };
    const part = createPolicyPart({ state, counters, clock, log: recordingLog() });
    void part.run(this.stop.signal);
  }

  async join(): Promise<void> {
    const [hostId, blocks] = ["id1" as HostId, ["10.2.1.0/24"]];
    const identity = { hostId, hostName: "h1", settings: DEFAULT_SETTINGS, blocks, epoch: "e", wire: 1 };
    this.state.receive({ type: "welcome", ...identity });
    const peer = { id: "id2" as HostId, name: "h2", address: parseIpv4("192.0.2.2"), blocks: ["10.2.2.0/24"] };
    this.state.receive({ type: "peers", peers: [peer] });
    await this.clock.advance(100);
  }

  async declare(change: Partial<NetworkConfig>): Promise<void> {
    this.state.receive({ type: "network-config", config: { ...EMPTY_NETWORK_CONFIG, ...change } });
    await this.clock.advance(100);
  }

  async hold(...holders: readonly Holder[]): Promise<void> {
    this.state.setLocalHolders("registration", holders);
    await this.clock.advance(100);
  }

  names(): readonly string[] {
    return this.state.rules().map(({ name }) => name);
  }
}

test("the rules of a former agent stay until this one knows its containers and ports", async () => {
  const one = new Fixture();
  await one.join();
  expect(one.state.rulesComplete()).toBe(false);
  await one.hold();
  expect(one.state.rulesComplete()).toBe(false);
  one.state.setPorts("engine", []);
  expect(one.state.rulesComplete()).toBe(true);
  // An engine that never answers does not hold up the rules of others for ever.
  const blind = new Fixture();
  await blind.join();
  await blind.clock.advance(9000);
  expect(blind.state.rulesComplete()).toBe(false);
  await blind.clock.advance(2000);
  expect(blind.state.rulesComplete()).toBe(true);
});

test("a source on another host is let in when that host tells of it, a container here is closed when it is there", async () => {
  const one = new Fixture();
  await one.join();
  await one.declare({ policies: [DB] });
  await one.hold();
  expect(one.names()).not.toContain("policy");
  await one.hold(holder("h1", "db", "10.2.1.6"));
  const text = (): string => JSON.stringify(one.state.rules());
  expect(text()).toContain("10.2.1.6 : jump policy_");
  expect(text()).not.toContain("10.2.2.5");
  const web = holder("h2", "web", "10.2.2.5");
  one.state.receive({ type: "holders", host: "h2", reset: true, upsert: [web], remove: [] });
  await one.clock.advance(100);
  expect(text()).toContain("10.2.2.5 : return");
  one.state.receive({ type: "holders", host: "h2", reset: false, upsert: [], remove: [web.id] });
  await one.clock.advance(100);
  expect(text()).not.toContain("10.2.2.5");
});

test("an agent that starts again without a server has the same rules at once", async () => {
  const one = new Fixture();
  await one.join();
  await one.declare({ policies: [DB] });
  one.state.receive({
    type: "holders",
    host: "h2",
    reset: true,
    upsert: [holder("h2", "web", "10.2.2.5")],
    remove: [],
  });
  await one.hold(holder("h1", "db", "10.2.1.6"));
  const again = new Fixture();
  again.state.restore(JSON.parse(JSON.stringify(one.state.snapshot())));
  await again.clock.advance(100);
  const policyOf = ({ state }: Fixture) => state.rules().find(({ name }) => name === "policy");
  expect(policyOf(again)).toEqual(policyOf(one) ?? { name: "none", sets: [], chains: {}, rules: {} });
});

test("rules that name what nowhere runs are a condition", async () => {
  const one = new Fixture();
  await one.join();
  await one.declare({ policies: [DB] });
  await one.hold(holder("h1", "db", "10.2.1.6"));
  expect(one.state.conditions().map(({ code, text }) => [code, text])).toEqual([
    ["policy-rule-idle", 'Policy rule "db" names app "web", of which no container runs'],
  ]);
  await one.hold(holder("h1", "db", "10.2.1.6"), holder("h1", "web", "10.2.1.5"));
  expect(one.state.conditions()).toEqual([]);
});

test("policy-counters adds up by rule over changes of the kernel's rules", async () => {
  const one = new Fixture();
  await one.join();
  await one.declare({ policies: [DB] });
  await one.hold(holder("h1", "db", "10.2.1.6"));
  const input = policyInput(one.state);
  const [group] = input === null ? [] : planPolicy(input).groups;
  const counter = refusalCounter(group?.id ?? "");
  one.packets = new Map([[counter, 5]]);
  await one.clock.advance(10_000);
  one.packets = new Map([
    [counter, 2],
    ["source_bad_mac", 1],
  ]);
  const asked = { source: "10.2.2.9" as Ipv4, destination: "10.2.1.6" as Ipv4, protocol: "tcp", port: 80, packets: 2 };
  one.refusals = [asked];
  const answer = (await one.state.queries.ask({ kind: "policy-counters" }, one.stop.signal)) as PolicyCountersJson;
  expect(answer).toMatchObject({ host: "h1", refused: { db: 7 }, spoofed: { mac: 1, address: 0 }, recent: [asked] });
});

test("policy-why answers from what this agent knows, and refuses what is no question", async () => {
  const one = new Fixture();
  await one.join();
  await one.declare({ policies: [DB] });
  await one.hold(holder("h1", "db", "10.2.1.6"), holder("h1", "eve", "10.2.1.7"));
  const ask = async (fields: object): Promise<PolicyAnswer> =>
    (await one.state.queries.ask({ kind: "policy-why", ...fields }, one.stop.signal)) as PolicyAnswer;
  expect((await ask({ from: "eve", to: "db", port: 80 })).cases).toMatchObject([{ reason: "not-allowed", host: "h1" }]);
  expect((await ask({ from: "host:h2", to: "eve" })).cases).toMatchObject([{ reason: "open", pairs: 2 }]);
  expect(ask({ from: "eve", to: "db", port: 0 })).rejects.toThrow(/Cannot explain policy: port/);
});
