import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import type { WireSpec, Wiring } from "../platform/ports/wiring.ts";

/** A host with a bridge `apollo0` and two network namespaces. */
export interface ContractWiring {
  readonly wiring: Wiring;
  readonly namespaces: readonly [string, string];
  /** As when the last process of it ends. */
  readonly endNamespace: (path: string) => Promise<void>;
}

const address = parseIpv4("10.2.1.200");
const six = {
  address: parseIpv6("fd12:3456:789a:0:a02:100:a02:1c8"),
  prefix: 96,
  gateway: parseIpv6("fd12:3456:789a:0:a02:100:a02:101"),
  reach: "fd12:3456:789a::/64",
};

function wireTo(namespacePath: string, change: Partial<WireSpec> = {}): WireSpec {
  return {
    device: "vethat00000001",
    bridge: "apollo0",
    namespacePath,
    end: {
      name: "apollo",
      mac: "02:42:0a:02:01:c8",
      address,
      prefix: 16,
      gateway: parseIpv4("10.2.1.1"),
      six,
      defaultRoute: "if-none",
      multicast: true,
      routes: [],
    },
    ...change,
  };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "ok";
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

/** The kernel takes a namespace's devices down a moment after its last user went. */
async function eventually(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error("It did not come within 10 s");
    await Bun.sleep(5);
  }
}

/** One suite over the fake and the kernel. */
export function testWiring(what: string, make: () => Promise<ContractWiring>): void {
  test(`${what}: a wire is there until it is taken away, and goes with its namespace`, async () => {
    const { wiring, namespaces, endNamespace } = await make();
    const [first, second] = namespaces;
    expect(await wiring.observe()).toEqual({ wires: [], exposed: [], local6: [], bridges: ["apollo0"] });
    await wiring.connect(wireTo(first));
    const [wire] = (await wiring.observe()).wires;
    expect(wire).toMatchObject({ device: "vethat00000001", bridge: "apollo0", up: true });
    expect(wire?.namespace).toBe(await wiring.namespaceAt(first));
    expect(wire?.index).toBeGreaterThan(0);
    const inside = await wiring.inspect(first);
    expect(inside.find(({ name }) => name === "apollo")?.addresses).toEqual(
      expect.arrayContaining(["10.2.1.200/16", `${six.address}/96`]),
    );
    expect(await codeOf(wiring.connect(wireTo(second)))).toBe("conflict");
    expect(await codeOf(wiring.connect(wireTo(first, { device: "vethat00000002" })))).toBe("conflict");
    await wiring.disconnect("vethat00000001");
    await wiring.disconnect("vethat00000001");
    expect((await wiring.observe()).wires).toEqual([]);
    await wiring.connect(wireTo(first));
    await endNamespace(first);
    expect(await wiring.namespaceAt(first)).toBeNull();
    await eventually(async () => (await wiring.observe()).wires.length === 0);
    expect(await codeOf(wiring.connect(wireTo(first)))).toBe("not-found");
  });

  test(`${what}: a loose pair has its far end on the host; exposing and hiding can be repeated`, async () => {
    const { wiring } = await make();
    const loose = { device: "vethep00000001", far: "vethpx00000001", bridge: "apollo0", mac: "02:42:0a:02:01:c9" };
    await wiring.connectLoose(loose);
    expect((await wiring.observe()).wires).toMatchObject([{ device: "vethep00000001", namespace: null, up: true }]);
    expect(await codeOf(wiring.connectLoose(loose))).toBe("conflict");
    await wiring.disconnect("vethep00000001");
    for (const each of [address, six.address, address, six.address]) await wiring.expose(each);
    expect(await wiring.observe()).toMatchObject({ exposed: [address], local6: [six.address] });
    for (const each of [address, six.address, address, six.address]) await wiring.hide(each);
    expect(await wiring.observe()).toMatchObject({ wires: [], exposed: [], local6: [] });
  });
}
