import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Container } from "../model/container.ts";
import { LABEL_INSTANCE } from "../model/container.ts";
import type { InstanceGoal } from "../model/instance.ts";
import { parseIpv4 } from "../model/ip.ts";
import { assignmentOf } from "../sim/agent-fixtures.ts";
import { planContainers } from "./plan-containers.ts";
import type { ContainersPlan, KnownAddresses, ObservedContainers, WantedContainers } from "./plan-containers.ts";
import { containerOf } from "../model/container.fixture.ts";

const ID = assignmentOf("a").instance.id;

function ofInstance(change: Partial<Container> = {}): Container {
  return containerOf({
    id: "c1",
    name: ID,
    startedAtMs: 5,
    labels: { [LABEL_INSTANCE]: ID },
    addresses: { apollo: parseIpv4("10.2.1.9") },
    fixedAddress: parseIpv4("10.2.1.9"),
    ...change,
  });
}

interface Case {
  readonly goal?: InstanceGoal | "unknown";
  readonly container?: Partial<Container> | null;
  readonly wanted?: Partial<WantedContainers>;
  readonly observed?: Partial<ObservedContainers>;
}

function inBlocks(...blocks: readonly string[]): KnownAddresses {
  const problem = "No server is connected";
  return { blocks, open: blocks, engineRange: null, taken: new Set(), recent: [], resting: new Set(), problem };
}

function plan({ goal = "running", container = null, wanted = {}, observed = {} }: Case): ContainersPlan {
  const assignments = goal === "unknown" ? [] : [assignmentOf("a", { goal })];
  return planContainers(
    {
      assignments: new Map(assignments.map((assignment) => [assignment.instance.id, assignment])),
      health: new Map(),
      connected: true,
      alone: false,
      ...wanted,
    },
    {
      containers: container === null ? [] : [ofInstance(container)],
      deaths: new Map(),
      told: new Set(),
      busy: new Map(),
      failures: new Map(),
      declared: new Set(),
      network: { name: "apollo", fixedAddresses: true },
      addresses: inBlocks("10.2.1.0/24"),
      hostAddress: parseIpv4("192.168.0.7"),
      nowMs: 1000,
      ...observed,
    },
  );
}

/** A plan in words: actions, then the report. */
function words(input: Case): string {
  const { actions, reports } = plan(input);
  const done = actions.map((action) => action.kind).join(",") || "-";
  const report = reports.get(ID);
  return `${done} ${report === undefined ? "unsaid" : report === null ? "forget" : report.phase}`;
}

const death = { deaths: new Map([["c1", { exitCode: 1, atMs: 900, told: false }]]) };
const told = (atMs: number) => ({ deaths: new Map([["c1", { exitCode: 1, atMs, told: true }]]), nowMs: 1000 + atMs });
const other = { ...ofInstance(), id: "c2", name: "other", labels: {} };
const failure = {
  failures: new Map([[ID, { phase: "failed", reason: "no image", exitCode: null, atMs: 900 } as const]]),
};
const offline = { connected: false };
const alone = { connected: false, alone: true };

describe("planContainers()", () => {
  const table: readonly [string, Case, string][] = [
    ["creates what is missing", {}, "create unsaid"],
    ["waits for the network", { observed: { network: null } }, "- staging"],
    ["refuses in a full block", { observed: { addresses: inBlocks("10.2.1.0/31") } }, "refuse unsaid"],
    [
      "waits for a further block",
      { observed: { addresses: { ...inBlocks("10.2.1.0/31"), problem: null } } },
      "- staging",
    ],
    [
      "ends what has another host's address",
      { container: {}, observed: { addresses: inBlocks("10.2.9.0/24") } },
      "stop unsaid",
    ],
    [
      "but not before a server has said so",
      { container: {}, wanted: offline, observed: { addresses: inBlocks("10.2.9.0/24") } },
      "- running",
    ],
    ["does not try again what failed", { observed: failure }, "- failed"],
    ["tries again when alone for long", { wanted: alone, observed: { ...failure, nowMs: 60_000 } }, "create unsaid"],
    ["starts what an agent left created", { container: { state: "created" } }, "start unsaid"],
    ["leaves alone what runs", { container: {} }, "- running"],
    [
      "lets the engine keep what has run for a while",
      { container: { restart: "no" }, observed: { nowMs: 9000 } },
      "secure running",
    ],
    ["but not what has just started", { container: { restart: "no" } }, "- running"],
    ["leaves a draining one running", { goal: "draining", container: {} }, "- running"],
    ["condemns a death in a server's sight", { container: {}, observed: death }, "condemn unsaid"],
    ["condemns what waits for the engine's restart", { container: { state: "restarting" } }, "condemn unsaid"],
    [
      "lets the engine restart while offline",
      { container: { state: "restarting" }, wanted: offline, observed: death },
      "- running",
    ],
    ["leaves one that was restarted by hand", { container: {}, observed: told(0) }, "- running"],
    ["waits whether the engine itself ends", { container: { state: "exited" }, observed: told(0) }, "- unsaid"],
    [
      "condemns one that was stopped by hand, as others were not told to end",
      { observed: { ...told(0), containers: [ofInstance({ state: "exited" }), other] } },
      "condemn unsaid",
    ],
    [
      "waits while all others were told to end too",
      { observed: { ...told(0), containers: [ofInstance({ state: "exited" }), other], told: new Set(["c2"]) } },
      "- unsaid",
    ],
    [
      "condemns when the engine did not end after all",
      { container: { state: "exited" }, observed: { ...told(0), nowMs: 20_000 } },
      "condemn unsaid",
    ],
    ["tells an exit that it did not see", { container: { state: "exited", exitCode: 2 } }, "condemn unsaid"],
    [
      "waits with an exited one until a server is known",
      { container: { state: "exited" }, wanted: offline },
      "- unsaid",
    ],
    ["starts an exited one when alone", { container: { state: "exited" }, wanted: alone }, "start unsaid"],
    ["keeps a failed one's container", { container: { state: "exited" }, observed: failure }, "- failed"],
    ["stops what shall stop", { goal: "stopped", container: {} }, "stop unsaid"],
    ["says gone when it is", { goal: "stopped" }, "- gone"],
    ["says gone for a draining one without a container", { goal: "draining" }, "- gone"],
    ["removes what the server does not know", { goal: "unknown", container: {} }, "stop unsaid"],
    ["removes nothing unknown while offline", { goal: "unknown", container: {}, wanted: offline }, "- unsaid"],
    ["touches nothing without our name", { goal: "unknown", container: { name: "copy" } }, "- unsaid"],
  ];
  for (const [name, input, expected] of table) test(name, () => expect(words(input)).toBe(expected));

  test("plans nothing for an instance that a job works on, and gives its address to no other", () => {
    const status = { phase: "staging", step: "creating", sinceMs: 1 } as const;
    const busy = new Map([[assignmentOf("z").instance.id, { status, address: parseIpv4("10.2.1.2") }]]);
    const { actions, reports } = plan({ observed: { busy } });
    expect(actions).toEqual([{ kind: "create", id: ID, network: "apollo", address: parseIpv4("10.2.1.3") }]);
    expect(reports.get(assignmentOf("z").instance.id)).toBeUndefined();
    expect(words({ observed: { busy: new Map([[ID, { status, address: null }]]) } })).toBe("- staging");
  });

  test("property: equal inputs give equal plans, in whatever order they come, and no address twice", () => {
    const uuids = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d", "e", "f"), { minLength: 1 });
    fc.assert(
      fc.property(uuids, fc.infiniteStream(fc.boolean()), (order, flips) => {
        const entries = order.map((uuid) =>
          assignmentOf(uuid, { goal: flips.next().value === true ? "running" : "stopped" }),
        );
        const planOf = (list: typeof entries): ContainersPlan =>
          plan({ wanted: { assignments: new Map(list.map((entry) => [entry.instance.id, entry])) } });
        const one = planOf(entries);
        expect(planOf(entries.toReversed()).actions).toEqual(one.actions);
        const addresses = one.actions.flatMap((action) => (action.kind === "create" ? [action.address] : []));
        expect(new Set(addresses).size).toBe(addresses.length);
      }),
    );
  });
});
