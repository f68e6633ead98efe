import { AppError } from "../model/error.ts";
import type { Publication } from "../model/network-config.ts";
import { portKey } from "./plan-fronts.ts";
import { TUNNEL_PORT } from "./plan-network.ts";

/** Ports of hosts that the platform itself answers; see "Ports in use" in docs/architecture.md. */
const OWN_PORTS: ReadonlyMap<string, string> = new Map([
  [portKey("tcp", 80), "the ingress"],
  [portKey("tcp", 443), "the ingress"],
  [portKey("tcp", 34_180), "the ingress (its status page)"],
  [portKey("tcp", 8443), "the server"],
  [portKey("udp", TUNNEL_PORT), "the tunnels between hosts"],
]);

/**
 * Refuses what could not be served anywhere it is wanted. What only a host knows, such as a program that listens there,
 * is a condition of that host.
 * @param appPorts apps by the host port that they ask for, as "8080/tcp"
 * @throws AppError `conflict` that names who has the port
 */
export function checkPublication(
  wanted: Publication,
  others: readonly Publication[],
  appPorts: ReadonlyMap<string, string>,
): void {
  const key = portKey(wanted.protocol, wanted.port);
  const refuse = (why: string): AppError =>
    new AppError("conflict", `Cannot publish "${wanted.name}" on port ${key}: ${why}`, {
      hint: "Choose another port; see those in use with: apollo service outside",
    });
  const own = OWN_PORTS.get(key);
  if (own !== undefined) throw refuse(`${own} has it`);
  const app = appPorts.get(key);
  if (app !== undefined) throw refuse(`app "${app}" asks for it as its host port`);
  const other = others.find(
    (one) => one.name !== wanted.name && portKey(one.protocol, one.port) === key && canMeet(one.hosts, wanted.hosts),
  );
  if (other !== undefined) throw refuse(`publication "${other.name}" of service "${other.service}" has it`);
}

/** Whether a host can have the labels of both: no label is wanted with two values. Such a host may join at any time. */
function canMeet(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.entries(a).every(([label, value]) => b[label] === undefined || b[label] === value);
}
