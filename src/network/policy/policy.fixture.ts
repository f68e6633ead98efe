import type { Holder } from "../../model/holder.ts";
import type { Ipv4 } from "../../model/ip.ts";
import { parseIpv4 } from "../../model/ip.ts";
import type { PolicyInput } from "./plan-policy.ts";

export function holder(over: Partial<Holder> & { readonly address: Ipv4 }): Holder {
  const { address, host = "h1", network = "apollo", container = `c-${address}` } = over;
  return {
    id: `${host}:${container}:${network}`,
    host,
    network,
    container,
    instance: null,
    app: null,
    services: [],
    labels: {},
    ...over,
  };
}

/** Host h1 with a web and a db container. */
export function input(over: Partial<PolicyInput>): PolicyInput {
  return {
    networks: [{ name: "apollo", bridge: "apollo0", policy: "open" }],
    rules: [],
    holders: [
      holder({ address: parseIpv4("10.2.1.5"), app: "/web", services: ["web"] }),
      holder({ address: parseIpv4("10.2.1.6"), app: "/db", services: ["db"] }),
    ],
    hostAddresses: [parseIpv4("10.2.1.1")],
    host: "h1",
    ...over,
  };
}
