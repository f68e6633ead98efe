import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import { parseIpv6 } from "../model/ip6.ts";
import type { NetworkAction } from "../platform/ports/host-network.ts";
import type { ContractHost } from "./host-network.contract.ts";

const [BRIDGE, TUNNEL, UPLINK] = ["apollo0", "apollo-vx0", "eth0"];
const GATEWAY = parseIpv6("fd12:3456:789a:0:a02:100:a02:101");
const FAR = parseIpv6("fd12:3456:789a:0:a02:300:a02:301");
const OWN_LINK = parseIpv6("fe80::6170:0:c000:201");
const FAR_MAC = "0a:70:0a:02:03:01";
const gateway = { device: BRIDGE, address: GATEWAY, prefix: 96 };
const neighbour = { device: TUNNEL, address: FAR, mac: FAR_MAC };
const near = {
  destination: "fd12:3456:789a:0:a02:200::/96",
  via: parseIpv6("fe80::6170:0:c000:202"),
  device: UPLINK,
  source: GATEWAY,
  mtu: 1400,
  onlink: false,
};
const far = {
  ...near,
  destination: "fd12:3456:789a:0:a02:300::/96",
  via: FAR,
  device: TUNNEL,
  mtu: 1450,
  onlink: true,
};

interface Step {
  readonly title: string;
  readonly actions: readonly NetworkAction[];
  /** Each must be refused with AppError `unavailable` and change nothing. */
  readonly refused?: readonly NetworkAction[];
  readonly ours: readonly string[];
}

const ADDRESSES = [`address ${GATEWAY}/96 ${BRIDGE}`, `address ${OWN_LINK}/64 ${UPLINK}`];
const NEAR = `route ${near.destination} via ${near.via} ${UPLINK} src ${GATEWAY} mtu 1400`;
const FAR_ROUTE = `route ${far.destination} via ${FAR} ${TUNNEL} src ${GATEWAY} mtu 1450 onlink`;

const STEPS: readonly Step[] = [
  {
    title: "addresses can be used at once, and are added once",
    actions: [
      {
        kind: "add-bridge",
        name: BRIDGE,
        address: parseIpv4("10.2.1.1"),
        prefix: 16,
        mac: "0a:71:0a:02:01:01",
        mtu: 1500,
      },
      { kind: "add-address6", ...gateway },
      { kind: "add-address6", device: UPLINK, address: OWN_LINK, prefix: 64 },
    ],
    refused: [
      { kind: "add-address6", ...gateway },
      { kind: "add-address6", ...gateway, device: "no-such" },
      { kind: "put-route6", route: { ...near, source: FAR } },
    ],
    ours: ADDRESSES,
  },
  {
    title: "a route goes by a neighbour's link-local address, or by one that only we know to be behind a device",
    actions: [
      { kind: "put-route6", route: near },
      {
        kind: "add-vxlan",
        name: TUNNEL,
        vni: 201,
        port: 6784,
        local: parseIpv4("192.0.2.1"),
        mac: "0a:70:0a:02:01:01",
        mtu: 1450,
      },
      { kind: "put-neighbour6", ...neighbour },
      { kind: "put-route6", route: far },
    ],
    refused: [{ kind: "put-route6", route: { ...far, destination: "fd12:3456:789a:0:a02:400::/96", onlink: false } }],
    ours: [...ADDRESSES, `neighbour ${FAR} ${FAR_MAC} ${TUNNEL}`, NEAR, FAR_ROUTE],
  },
  {
    title: "a second route or neighbour of the same takes the place of the first",
    actions: [
      { kind: "put-route6", route: { ...near, mtu: 1300 } },
      { kind: "put-route6", route: near },
      { kind: "put-neighbour6", ...neighbour, mac: "0a:70:0a:02:09:01" },
      { kind: "put-neighbour6", ...neighbour },
    ],
    ours: [...ADDRESSES, `neighbour ${FAR} ${FAR_MAC} ${TUNNEL}`, NEAR, FAR_ROUTE],
  },
  {
    title: "routes outlive the address that they name as their source",
    actions: [{ kind: "delete-address6", ...gateway }],
    refused: [{ kind: "delete-address6", ...gateway }],
    ours: [
      ADDRESSES[1] ?? "",
      `neighbour ${FAR} ${FAR_MAC} ${TUNNEL}`,
      NEAR.replace(` src ${GATEWAY}`, ""),
      FAR_ROUTE.replace(` src ${GATEWAY}`, ""),
    ],
  },
  {
    title: "a device takes its routes and neighbours along; what is gone cannot be deleted",
    actions: [
      { kind: "delete-link", name: TUNNEL },
      { kind: "delete-route6", destination: near.destination, device: UPLINK },
    ],
    refused: [
      { kind: "delete-route6", destination: near.destination, device: UPLINK },
      { kind: "delete-neighbour6", ...neighbour },
    ],
    ours: [ADDRESSES[1] ?? ""],
  },
  {
    title: "and nothing stays",
    actions: [
      { kind: "delete-address6", device: UPLINK, address: OWN_LINK, prefix: 64 },
      { kind: "delete-link", name: BRIDGE },
    ],
    ours: [],
  },
];

/** Addresses, routes and neighbours of IPv6, on a host with one uplink `eth0`, 192.0.2.1/24, and a kernel that has IPv6. */
export function network6Contract(name: string, host: () => ContractHost): void {
  for (const { title, actions, refused = [], ours } of STEPS) {
    test(`${name}, IPv6: ${title}`, async () => {
      for (const action of actions) await host().network.apply(action);
      for (const action of refused) {
        const error: unknown = await host()
          .network.apply(action)
          .then(
            () => "accepted",
            (reason: unknown) => reason,
          );
        expect(error).toBeInstanceOf(AppError);
        expect((error as AppError).code).toBe("unavailable");
      }
      expect(await oursOf(host())).toEqual(ours.toSorted());
    });
  }
}

async function oursOf({ network }: ContractHost): Promise<readonly string[]> {
  const want = { sysctls: [], range: "10.2.0.0/16", range6: "fd12:3456:789a::/64", tunnelDevice: TUNNEL };
  const { ip6 } = await network.observe(want);
  if (ip6 === undefined || ip6 === null) throw new Error("This kernel has no IPv6");
  const { addresses, routes, neighbours } = ip6;
  return [
    ...addresses
      // Each device has one that follows from its MAC.
      .filter(({ address }) => [GATEWAY, OWN_LINK].includes(address))
      .map(({ device, address, prefix }) => `address ${address}/${prefix} ${device}`),
    ...routes
      .filter(({ marked }) => marked)
      .map(
        ({ destination, via, device, source, mtu, onlink }) =>
          `route ${destination} via ${via} ${device}${source === null ? "" : ` src ${source}`} mtu ${mtu}${onlink ? " onlink" : ""}`,
      ),
    ...neighbours.map(({ device, address, mac }) => `neighbour ${address} ${mac} ${device}`),
  ].toSorted();
}
