import { expect, test } from "bun:test";
import fc from "fast-check";
import type { AppSpec, Constraint, ConstraintOperator } from "../model/app.ts";
import type { HostId } from "../model/ids.ts";
import type { HostLoad } from "./host-load.ts";
import { Placer, placeInstances } from "./placement.ts";
import type { Placed } from "./placement.ts";
import { sampleHost, sampleSpec } from "./sample-cluster.ts";

const rule = (field: string, operator: ConstraintOperator, value: string | null = null): Constraint => ({
  field,
  operator,
  value,
});
const hosts = (...racks: string[]): HostLoad[] =>
  racks.map((rack, at) => sampleHost(`h${at + 1}`, { labels: rack === "" ? {} : { rack } }));
const on = (...names: string[]): Placed[] => names.map((name) => ({ hostId: name as HostId, leaving: false }));

function place(
  count: number,
  on_: readonly HostLoad[],
  { existing = [], ...change }: Partial<AppSpec> & { existing?: readonly Placed[] } = {},
): { placed: string; problem: ReturnType<typeof placeInstances>["problem"] } {
  const { placed, problem } = placeInstances({ spec: sampleSpec("/web", change), count, hosts: on_, existing });
  return { placed: placed.join(" "), problem };
}

test("placeInstances() spreads over hosts, then goes by load, then by name", () => {
  expect(place(4, hosts("", "", "")).placed).toBe("h1 h2 h3 h1");
  expect(place(2, hosts("", "", ""), { existing: on("h1", "h2") }).placed).toBe("h3 h1");
  const loaded = [sampleHost("h1", { used: { cpus: 2, memoryMiB: 0, diskMiB: 0 } }), sampleHost("h2"), sampleHost("h3")];
  expect(place(3, loaded).placed).toBe("h2 h3 h1");
  const full = [sampleHost("h1", { used: { cpus: 0, memoryMiB: 4000, diskMiB: 0 } }), sampleHost("h2")];
  expect(place(1, full).placed).toBe("h2");
});

test("placeInstances() does not spread away from instances that are leaving", () => {
  expect(place(1, hosts("", ""), { existing: [{ hostId: "h1" as HostId, leaving: true }] }).placed).toBe("h1");
});

test("placeInstances() says for each host what is missing, with numbers", () => {
  const some = [
    sampleHost("h1", { used: { cpus: 3.9, memoryMiB: 0, diskMiB: 0 } }),
    sampleHost("h2", { used: { cpus: 0, memoryMiB: 4000, diskMiB: 0 } }),
    sampleHost("h3", { cordoned: true }),
    sampleHost("h4", { presence: { phase: "down", sinceMs: 0 } }),
    sampleHost("h5", { presence: { phase: "joining" } }),
    sampleHost("h6", { resources: { cpus: 4, memoryMiB: 4096, diskMiB: 10 } }),
  ];
  const { placed, problem } = place(2, some, { cpus: 0.3, memoryMiB: 128, diskMiB: 20 });
  expect(placed).toBe("");
  expect(problem?.code).toBe("no-capacity");
  expect(problem?.hosts.map(({ host, reason }) => `${host}: ${reason}`)).toEqual([
    "h1: needs 0.3 cpu, 0.1 free",
    "h2: needs 128 MiB memory, 96 free",
    "h3: it is cordoned",
    "h4: it is down",
    "h5: it was not heard of yet",
    "h6: needs 20 MiB disk, 10 free",
  ]);
});

test("placeInstances() names full blocks, missing hosts and rules as problems of their own", () => {
  const full = sampleHost("h1", { addresses: { total: 253, used: 253 } });
  expect(place(1, [full]).problem).toMatchObject({
    code: "full-block",
    hosts: [{ host: "h1", reason: "all 253 addresses of its block are taken" }],
  });
  expect(place(1, [full], { network: "host" }).placed).toBe("h1");
  expect(place(1, []).problem).toMatchObject({
    code: "no-host",
    message: 'Cannot place 1 instance of "/web": there is no host',
  });
  expect(place(1, [sampleHost("h1", { cordoned: true })]).problem?.code).toBe("no-host");
  expect(place(1, hosts("a"), { constraints: [rule("rack", "IS", "b")] }).problem).toMatchObject({
    code: "constraint",
    hosts: [{ reason: 'constraint "rack IS b": its rack is "a"' }],
  });
});

test("placeInstances() fills a host to the last bit of cpu", () => {
  expect(place(11, [sampleHost("h1", { resources: { cpus: 1, memoryMiB: 4096, diskMiB: 0 } })]).placed.split(" ").length).toBe(10);
});

test("placeInstances() follows every constraint", () => {
  const racks = hosts("a", "a", "b", "b", "");
  const table: { constraints: Constraint[]; count: number; existing?: Placed[]; placed: string }[] = [
    { constraints: [rule("hostname", "UNIQUE")], count: 9, placed: "h1 h2 h3 h4 h5" },
    { constraints: [rule("@hostname", "UNIQUE")], count: 2, existing: on("h1", "h3"), placed: "h2 h4" },
    { constraints: [rule("rack", "UNIQUE")], count: 3, placed: "h1 h3" },
    { constraints: [rule("rack", "MAX_PER", "2")], count: 9, placed: "h1 h2 h3 h4" },
    { constraints: [rule("hostname", "CLUSTER", "h3")], count: 2, placed: "h3 h3" },
    { constraints: [rule("rack", "CLUSTER")], count: 3, placed: "h1 h2 h1" },
    { constraints: [rule("rack", "CLUSTER")], count: 3, existing: on("h3"), placed: "h4 h3 h4" },
    { constraints: [rule("rack", "LIKE", "[bc]")], count: 3, placed: "h3 h4 h3" },
    { constraints: [rule("hostname", "LIKE", "h")], count: 1, placed: "" },
    { constraints: [rule("rack", "UNLIKE", "a")], count: 3, placed: "h3 h4 h5" },
    { constraints: [rule("rack", "IS", "b")], count: 1, placed: "h3" },
    { constraints: [rule("rack", "GROUP_BY")], count: 5, placed: "h1 h3 h2 h4 h1" },
    { constraints: [rule("rack", "GROUP_BY")], count: 3, existing: on("h1", "h1"), placed: "h3 h4 h2" },
    { constraints: [rule("rack", "GROUP_BY", "1")], count: 3, placed: "h1 h2 h1" },
    { constraints: [rule("rack", "GROUP_BY", "5")], count: 3, placed: "h1 h3 h2" },
    { constraints: [rule("rack", "GROUP_BY"), rule("hostname", "UNIQUE")], count: 9, placed: "h1 h3 h2 h4" },
    { constraints: [rule("@rack", "IS", "b"), rule("hostname", "MAX_PER", "1")], count: 3, placed: "h3 h4" },
    { constraints: [rule("hostname", "LIKE", "(")], count: 1, placed: "" },
  ];
  for (const { constraints, count, existing = [], placed } of table) {
    expect(`${JSON.stringify(constraints)} ${place(count, racks, { constraints, existing }).placed}`).toBe(
      `${JSON.stringify(constraints)} ${placed}`,
    );
  }
});

test("placeInstances() compares numbers of IS at three decimals", () => {
  const numbers = [sampleHost("h1", { labels: { level: "0.5000" } }), sampleHost("h2", { labels: { level: "x" } })];
  expect(place(1, numbers, { constraints: [rule("level", "IS", "0.50001")] }).placed).toBe("h1");
  expect(place(1, numbers, { constraints: [rule("level", "IS", "x")] }).placed).toBe("h2");
});

test("placeInstances() puts a CLUSTER where all of it fits", () => {
  const small = sampleHost("h1", { labels: { rack: "a" } });
  const large = sampleHost("h2", { labels: { rack: "b" }, used: { cpus: 2, memoryMiB: 0, diskMiB: 0 }, resources: { cpus: 20, memoryMiB: 9999, diskMiB: 0 } });
  expect(place(3, [small, large], { cpus: 2, constraints: [rule("rack", "CLUSTER")] }).placed).toBe("h2 h2 h2");
});

test("placeInstances() waits with GROUP_BY while the emptiest group is full", () => {
  const full = sampleHost("h1", { labels: { rack: "a" }, addresses: { total: 1, used: 0 } });
  const { placed, problem } = place(4, [full, sampleHost("h2", { labels: { rack: "b" } })], {
    constraints: [rule("rack", "GROUP_BY")],
  });
  expect(placed).toBe("h1 h2 h2");
  expect(problem?.hosts.map(({ reason }) => reason)).toEqual([
    "all 1 addresses of its block are taken",
    'constraint "rack GROUP_BY": "b" has 2, another group 1',
  ]);
});

test("Placer.place() remembers over apps what it gave away", () => {
  const placer = new Placer([sampleHost("h1"), sampleHost("h2")]);
  const ask = (id: string, change: Partial<AppSpec>, count = 1): string =>
    placer.place({ spec: sampleSpec(id, change), count, existing: [] }).placed.join(" ");
  expect(ask("/a", { cpus: 3 })).toBe("h1");
  expect(ask("/b", { cpus: 1, constraints: [rule("hostname", "UNIQUE")] })).toBe("h2");
  expect(ask("/c", { cpus: 3 }, 2)).toBe("h2");
  expect(ask("/d", { cpus: 3 })).toBe("");
  expect(ask("/e", { cpus: 1 })).toBe("h1");
});

interface Drawn {
  readonly hosts: readonly HostLoad[];
  readonly spec: AppSpec;
  readonly existing: readonly Placed[];
  readonly count: number;
}

const drawn: fc.Arbitrary<Drawn> = fc
  .record({
    sizes: fc.array(
      fc.record({
        cpus: fc.integer({ min: 1, max: 8 }),
        usedTenths: fc.integer({ min: 0, max: 40 }),
        rack: fc.constantFrom("a", "b", "c", ""),
        state: fc.constantFrom("up", "up", "up", "cordoned", "down"),
        addresses: fc.integer({ min: 0, max: 6 }),
      }),
      { maxLength: 8 },
    ),
    constraints: fc.array(
      fc.constantFrom(
        rule("hostname", "UNIQUE"),
        rule("rack", "UNIQUE"),
        rule("rack", "MAX_PER", "3"),
        rule("rack", "GROUP_BY"),
        rule("rack", "GROUP_BY", "2"),
        rule("hostname", "GROUP_BY"),
        rule("rack", "CLUSTER"),
        rule("rack", "LIKE", "a|b"),
        rule("rack", "UNLIKE", "c"),
      ),
      { maxLength: 2 },
    ),
    existing: fc.array(fc.nat({ max: 7 }), { maxLength: 4 }),
    cpusTenths: fc.integer({ min: 0, max: 20 }),
    count: fc.integer({ min: 1, max: 12 }),
  })
  .map(({ sizes, constraints, existing, cpusTenths, count }) => ({
    hosts: sizes.map(({ cpus, usedTenths, rack, state, addresses }, at) =>
      sampleHost(`h${at + 1}`, {
        labels: rack === "" ? {} : { rack },
        resources: { cpus, memoryMiB: 4096, diskMiB: 0 },
        used: { cpus: Math.min(cpus, usedTenths / 10), memoryMiB: 0, diskMiB: 0 },
        cordoned: state === "cordoned",
        presence: state === "down" ? { phase: "down", sinceMs: 0 } : { phase: "up" },
        addresses: { total: addresses, used: 0 },
      }),
    ),
    spec: sampleSpec("/web", { constraints, cpus: cpusTenths / 10 }),
    existing: existing.filter((at) => at < sizes.length).flatMap((at) => on(`h${at + 1}`)),
    count,
  }));

test("placeInstances() never goes over a host and has a reason for each host when something is left", () => {
  fc.assert(
    fc.property(drawn, ({ hosts: all, spec, existing, count }) => {
      const { placed, problem } = placeInstances({ spec, count, hosts: all, existing });
      expect(placed.length + (problem?.count ?? 0)).toBe(count);
      for (const host of all) {
        const here = placed.filter((id) => id === host.id).length;
        if (here === 0) continue;
        expect(host.presence.phase).toBe("up");
        expect(host.cordoned).toBe(false);
        expect(host.used.cpus + here * spec.cpus).toBeLessThanOrEqual(host.resources.cpus + 1e-6);
        expect(here).toBeLessThanOrEqual(host.addresses.total);
      }
      if (problem !== null) {
        expect(problem.hosts.map(({ host }) => host)).toEqual(all.map(({ name }) => name).toSorted());
        for (const { reason } of problem.hosts) expect(reason).not.toBe("no reason is known");
      }
    }),
    { numRuns: 1000 },
  );
});

test("placeInstances() gives in one call what single calls give, one after another", () => {
  fc.assert(
    fc.property(drawn, ({ hosts: all, spec, existing, count }) => {
      // A CLUSTER is begun where all of the call fits, so that one differs on purpose.
      fc.pre(!spec.constraints.some(({ operator }) => operator === "CLUSTER"));
      const together = placeInstances({ spec, count, hosts: all, existing }).placed;
      const placer = new Placer(all);
      const single: HostId[] = [];
      for (let at = 0; at < count; at += 1) {
        const before = [...existing, ...single.map((hostId) => ({ hostId, leaving: false }))];
        single.push(...placer.place({ spec, count: 1, existing: before }).placed);
      }
      expect(single).toEqual([...together]);
    }),
    { numRuns: 1000 },
  );
});
