/** What an agent says of itself and its host when it connects. */
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import { isIpv4 } from "../model/ip.ts";
import { isIpv6 } from "../model/ip6.ts";
import { type AgentMessage, WIRE_VERSION, WIRE_VERSION_MIN } from "../model/wire.ts";
import { keysOf } from "./peer-of.ts";
import { chooseWireVersion } from "../model/parse-message.ts";

type Said<Type extends AgentMessage["type"]> = AgentMessage & { readonly type: Type };

/** @throws AppError `invalid` when agent and server have no version in common. */
export function agreeOnWire({ name }: Host, { wireMin, wireMax }: Said<"hello">): number {
  const wire = chooseWireVersion(wireMin, wireMax);
  if (wire !== null) return wire;
  throw new AppError(
    "invalid",
    `Cannot talk to host "${name}": its agent speaks wire ${wireMin}-${wireMax}, this server ${WIRE_VERSION_MIN}-${WIRE_VERSION}`,
    { hint: "Upgrade the older of the two" },
  );
}

/** The host as this agent describes it; the same object when that is nothing new. */
export function withHello(host: Host, hello: Said<"hello">): Host {
  const address = isIpv4(hello.address) || isIpv6(hello.address) ? hello.address : host.address;
  const next = { ...host, address, resources: hello.resources, labels: hello.labels, ...keysOf(hello) };
  return JSON.stringify(next) === JSON.stringify(host) ? host : next;
}
