/** What an agent says of its host, as far as it is kept in the store. */
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import { isIpv4 } from "../model/ip.ts";
import { isIpv6 } from "../model/ip6.ts";
import { type AgentMessage, chooseWireVersion, WIRE_VERSION, WIRE_VERSION_MIN } from "../model/wire.ts";
import { isInBlocks } from "../network/choose-address.ts";
import { type ClusterState, keyOf } from "./cluster-state.ts";
import { keysOf } from "./peer-of.ts";

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

export async function keepHello(state: ClusterState, host: Host, hello: Said<"hello">): Promise<void> {
  const address = isIpv4(hello.address) || isIpv6(hello.address) ? hello.address : host.address;
  const said = { address, resources: hello.resources, labels: hello.labels, ...keysOf(hello) };
  if (JSON.stringify({ ...host, ...said }) === JSON.stringify(host)) return;
  await state.update<Host>(keyOf.host(host.id), (known) => ({ ...known, ...said }));
}

export async function keepKeys(state: ClusterState, host: Host, message: Said<"keys">): Promise<void> {
  const keys = keysOf(message);
  if (host.publicKey === keys.publicKey && host.nextPublicKey === keys.nextPublicKey) return;
  await state.update<Host>(keyOf.host(host.id), (known) => ({ ...known, ...keys }));
}

/** One that lies in no block of the host is somebody else's to be reached at. */
export async function keepProbeAddress(
  state: ClusterState,
  host: Host,
  { probeAddress }: Said<"heartbeat">,
): Promise<void> {
  if (host.probeAddress === probeAddress) return;
  if (probeAddress !== undefined && !isInBlocks(probeAddress, host.blocks)) return;
  await state.update<Host>(keyOf.host(host.id), (known) => ({ ...known, probeAddress }));
}
