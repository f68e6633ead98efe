import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Ipv4 } from "../model/ip.ts";
import { formatIpv4 } from "../model/ip.ts";
import type { Cidr6, Ipv6 } from "../model/ip6.ts";
import type { Wire } from "../platform/ports/wiring.ts";
import { address6Of, host6Of } from "./address6.ts";
import type { AttachTarget, Attachment, DeclaredWiring } from "./attachment.ts";
import { containerMac, formatTarget, parseDeclaredWiring, parseTarget, wireDevice } from "./attachment.ts";
import type { ObservedWiring, WiringPlan } from "./plan-attachments.ts";
import { planAttachments } from "./plan-attachments.ts";
import { hostWire6, wireEnd6 } from "./wire6.ts";
import { containerOf } from "../model/container.fixture.ts";

const GATEWAY = "10.2.1.1" as Ipv4;
const DB: AttachTarget = { kind: "container", name: "db" };

function attachment(target: AttachTarget, address = "10.2.1.130" as Ipv4): Attachment {
  return {
    owner: `attach:${formatTarget(target)}@apollo`,
    target,
    network: "apollo",
    address,
    prefix: 16,
    gateway: GATEWAY,
    name: null,
    interfaceName: "apollo",
    defaultRoute: "if-none",
    multicast: true,
    routes: [],
    ownAddress: true,
  };
}

function wireOf({ owner }: Attachment, change: Partial<Wire> = {}): Wire {
  return { device: wireDevice("at", owner), index: 7, bridge: "apollo0", namespace: "4-1", up: true, ...change };
}

function plan(
  declared: readonly Attachment[],
  change: {
    readonly wires?: readonly Wire[];
    readonly namespaces?: ObservedWiring["namespaces"];
    readonly exposed?: readonly Ipv4[];
    readonly local6?: readonly Ipv6[];
    readonly host6?: Cidr6 | null;
    readonly exposures?: DeclaredWiring["exposures"];
    readonly bridges?: readonly string[];
    readonly containers?: ObservedWiring["containers"];
  } = {},
): WiringPlan {
  const { wires = [], exposed = [], local6 = [], exposures = [], bridges = ["apollo0"], containers = [] } = change;
  const here = new Map(declared.map(({ owner }) => [owner, { path: "/proc/9/ns/net", id: "4-1" }]));
  const observed = { state: { wires, exposed, local6, bridges }, containers, namespaces: change.namespaces ?? here };
  const local = { bridgeOf: () => "apollo0", host6: change.host6 ?? null };
  return planAttachments({ attachments: declared, exposures }, observed, local);
}

const kinds = ({ actions }: WiringPlan): string => actions.map(({ kind }) => kind).join(" ");

test("planAttachments() connects what is declared, and leaves what is right", () => {
  const db = attachment(DB);
  const first = plan([db]);
  expect(first.actions).toMatchObject([
    { kind: "connect", wire: { namespacePath: "/proc/9/ns/net", end: { address: "10.2.1.130", gateway: GATEWAY } } },
  ]);
  const second = plan([db], { wires: [wireOf(db)] });
  expect(second.actions).toEqual([]);
  expect(second.ports).toEqual([
    {
      network: "apollo",
      device: wireDevice("at", db.owner),
      index: 7,
      mac: "02:42:0a:02:01:82",
      addresses: ["10.2.1.130" as Ipv4],
      container: "db",
    },
  ]);
});

test("planAttachments() follows a restarted container, waits for a stopped one, and ends with a process", () => {
  const [db, process] = [attachment(DB), attachment({ kind: "pid", pid: 9, start: "77" }, "10.2.1.131" as Ipv4)];
  const old = wireOf(db, { namespace: "4-0" });
  expect(kinds(plan([db], { wires: [old] }))).toBe("disconnect connect");
  const none = new Map([[db.owner, null]]);
  const waits = plan([db], { wires: [old], namespaces: none });
  expect(kinds(waits)).toBe("disconnect");
  expect(waits.conditions.map(({ code }) => code)).toEqual(["attachment-waits"]);
  const gone = plan([process], { wires: [wireOf(process)], namespaces: new Map([[process.owner, null]]) });
  expect([kinds(gone), gone.ended]).toEqual(["disconnect", [process.owner]]);
});

test("planAttachments() touches nothing whose container the engine does not tell about, nor what has no bridge", () => {
  const db = attachment(DB);
  const silent = plan([db], { wires: [wireOf(db, { namespace: "4-0" })], namespaces: new Map(), containers: null });
  expect([kinds(silent), silent.ports.length]).toEqual(["", 1]);
  expect(kinds(plan([db], { bridges: [] }))).toBe("");
  expect(kinds(plan([db], { wires: [wireOf(db, { bridge: null })] }))).toBe("mend");
});

test("planAttachments() takes away what nobody declared, but not the engine's endpoints", () => {
  const engine = wireOf(attachment(DB), { device: wireDevice("ep", "e1") });
  const ours = wireOf(attachment({ kind: "netns", path: "/run/netns/x" }));
  expect(plan([], { wires: [engine, ours], exposed: ["10.2.1.9" as Ipv4] }).actions).toEqual([
    { kind: "disconnect", device: ours.device },
    { kind: "hide", address: "10.2.1.9" as Ipv4 },
  ]);
  const exposures = [{ owner: "expose:a:", address: "10.2.1.9" as Ipv4, name: "a" }];
  expect(kinds(plan([], { exposures }))).toBe("expose");
  expect(kinds(plan([], { exposures, exposed: ["10.2.1.9" as Ipv4] }))).toBe("");
});

test("planAttachments() gives an exposed address its IPv6 one, and takes those of this host's part alone away", () => {
  const range6 = "fd12:3456:789a::/64";
  const host6 = host6Of(range6, GATEWAY);
  const [exposed, gone] = ["10.2.1.9" as Ipv4, "10.2.1.10" as Ipv4];
  const others = host6Of(range6, "10.2.2.1" as Ipv4);
  const exposures = [{ owner: "expose:a:", address: exposed, name: "a" }];
  const local6 = [address6Of(host6, gone), address6Of(others, gone), "fd00::1" as Ipv6];
  expect(plan([], { exposures, exposed: [exposed], local6, host6 }).actions).toEqual([
    { kind: "expose", address: address6Of(host6, exposed) },
    { kind: "hide", address: address6Of(host6, gone) },
  ]);
  expect(plan([], { exposures, exposed: [exposed], local6: [address6Of(host6, exposed)], host6 }).actions).toEqual([]);
  // While this host does not know its part, nothing is.
  expect(plan([], { exposures, exposed: [exposed], local6 }).actions).toEqual([]);
});

test("planAttachments() wires IPv6 as it was declared, and tells the port's address", () => {
  const six = wireEnd6(hostWire6("fd12:3456:789a::/64", GATEWAY), "10.2.1.130" as Ipv4);
  const db: Attachment = { ...attachment(DB), six };
  expect(plan([db]).actions).toMatchObject([
    {
      kind: "connect",
      wire: {
        end: {
          six: {
            address: "fd12:3456:789a:0:a02:100:a02:182",
            prefix: 96,
            gateway: "fd12:3456:789a:0:a02:100:a02:101",
            reach: "fd12:3456:789a::/64",
          },
        },
      },
    },
  ]);
  expect(plan([db], { wires: [wireOf(db)] }).ports.map(({ addresses6 }) => addresses6)).toEqual([[six.address]]);
  const text = JSON.stringify({ attachments: [db], exposures: [] });
  expect(parseDeclaredWiring(text, "f").attachments).toEqual([db]);
});

test("planAttachments() says when the engine gave an attachment's address to a container of its own", () => {
  const twice = containerOf({ id: "c1", name: "web", addresses: { apollo: "10.2.1.130" as Ipv4 } });
  const { conditions } = plan([attachment(DB)], { containers: [twice] });
  expect(conditions.map(({ code, text }) => [code, text.includes('"web"')])).toEqual([["address-twice", true]]);
});

test("applying the plan converges in one pass, whatever is declared and there", () => {
  const target = fc.integer({ min: 1, max: 9 }).map((pid): AttachTarget => ({ kind: "netns", path: `/n/${pid}` }));
  const some = fc.uniqueArray(target, { selector: formatTarget, maxLength: 6 });
  fc.assert(
    fc.property(
      some,
      some,
      fc.constantFrom("4-1", "4-0"),
      fc.constantFrom("apollo0", null),
      (wanted, there, id, on) => {
        const declared = wanted.map((each, index) => attachment(each, formatIpv4(0x0a_02_01_80 + index)));
        const wires = new Map(
          there.map((each) => {
            const wire = wireOf(attachment(each), { namespace: id, bridge: on });
            return [wire.device, wire] as const;
          }),
        );
        for (const action of plan(declared, { wires: [...wires.values()] }).actions) {
          if (action.kind === "disconnect") expect(wires.delete(action.device)).toBe(true);
          if (action.kind === "connect") {
            expect(wires.has(action.wire.device)).toBe(false);
            wires.set(action.wire.device, {
              device: action.wire.device,
              index: 1,
              bridge: "apollo0",
              namespace: "4-1",
              up: true,
            });
          }
          const wire = action.kind === "mend" ? wires.get(action.device) : undefined;
          if (wire !== undefined) wires.set(wire.device, { ...wire, bridge: "apollo0" });
        }
        expect([...wires.keys()].toSorted()).toEqual(declared.map(({ owner }) => wireDevice("at", owner)).toSorted());
        expect(plan(declared, { wires: [...wires.values()] }).actions).toEqual([]);
      },
    ),
  );
});

test("parseTarget() and the file of declarations give a value or say what is wrong", () => {
  expect(parseTarget("pid:12")).toEqual({ kind: "pid", pid: 12 });
  expect(parseTarget("netns:blue")).toEqual({ kind: "netns", path: "/run/netns/blue" });
  expect(parseTarget("netns:/x/y")).toEqual({ kind: "netns", path: "/x/y" });
  expect(parseTarget("my_db.1")).toEqual({ kind: "container", text: "my_db.1" });
  for (const bad of ["", "pid:0", "pid:x", "netns:", "netns:../x", "-x", "a b", "a/b"]) {
    expect(() => parseTarget(bad)).toThrow("Cannot attach");
  }
  const declared = { attachments: [attachment(DB)], exposures: [] };
  expect(parseDeclaredWiring(JSON.stringify(declared), "f")).toEqual(declared);
  expect(() => parseDeclaredWiring('{"attachments":[{}]}', "f")).toThrow('Cannot use "f"');
  expect(() => parseDeclaredWiring("{", "f")).toThrow("not JSON");
  expect(containerMac("10.2.1.130" as Ipv4)).toBe("02:42:0a:02:01:82");
});
