import { existsSync } from "node:fs";
import { AppError } from "../../model/error.ts";
import type { NetworkAction, NetworkState, WireguardPeerSpec } from "../ports/host-network.ts";
import type { Runner } from "../ports/runner.ts";

export type WireguardAction = Extract<
  NetworkAction,
  { kind: "add-wireguard" | "set-wireguard-key" | "put-wireguard-peers" | "delete-wireguard-peers" }
>;

/** Arguments of one command; the kernel takes 2 MB of them, a key is 45 bytes. */
const KEYS_A_COMMAND = 500;

export interface WireguardTools {
  readonly runner: Runner;
  /** See `HostKeys.privateKeyOf`. */
  readonly privateKeyOf: (publicKey: string) => string | null;
}

/** @throws AppError `unavailable` as `HostNetwork.apply`. */
export async function applyWireguard(action: WireguardAction, tools: WireguardTools): Promise<void> {
  const { runner } = tools;
  switch (action.kind) {
    case "add-wireguard": {
      await addDevice(action.name, runner);
      await setKey(action, tools);
      const commands = [`link set dev ${action.name} mtu ${action.mtu}`, `link set dev ${action.name} up`];
      await runner.run(["ip", "-batch", "-"], { stdin: `${commands.join("\n")}\n` });
      return;
    }
    case "set-wireguard-key":
      return setKey(action, tools);
    case "put-wireguard-peers":
      // Adds to what is there, and replaces what it names: peers that are not named keep their sessions.
      await runner.run(["wg", "addconf", action.device, "/dev/stdin"], { stdin: action.peers.map(section).join("") });
      return;
    case "delete-wireguard-peers":
      for (let at = 0; at < action.publicKeys.length; at += KEYS_A_COMMAND) {
        const keys = action.publicKeys.slice(at, at + KEYS_A_COMMAND);
        await runner.run(["wg", "set", action.device, ...keys.flatMap((key) => ["peer", key, "remove"])]);
      }
  }
}

/**
 * The module's device where the kernel has one. The program makes itself a daemon: it outlives the agent, is found again by
 * its socket, and ends when its device is deleted.
 */
async function addDevice(name: string, runner: Runner): Promise<void> {
  const kernel = await runner.run(["ip", "link", "add", name, "type", "wireguard"], { okCodes: [0, 1, 2] });
  if (kernel.code === 0) return;
  if (!/Unknown device type|not supported/i.test(kernel.stderr)) {
    throw new AppError("unavailable", `Cannot add WireGuard device "${name}": ${kernel.stderr.trim()}`);
  }
  await runner.run(["wireguard-go", name]);
}

async function setKey(
  { name, port, publicKey }: { readonly name: string; readonly port: number; readonly publicKey: string },
  { runner, privateKeyOf }: WireguardTools,
): Promise<void> {
  const privateKey = privateKeyOf(publicKey);
  if (privateKey === null) {
    throw new AppError("unavailable", `Cannot give ${name} its key: the private half of ${publicKey} is not here`);
  }
  // By a file and never as an argument, which every user of the machine could read.
  const argv = ["wg", "set", name, "listen-port", String(port), "private-key", "/dev/stdin"];
  await runner.run(argv, { stdin: `${privateKey}\n` });
}

/** A section without allowed IPs takes them away: `addconf` replaces those of every peer that it names. */
function section({ publicKey, endpoint, allowedIps, keepaliveSec }: WireguardPeerSpec): string {
  return [
    "[Peer]",
    `PublicKey = ${publicKey}`,
    ...(allowedIps.length === 0 ? [] : [`AllowedIPs = ${allowedIps.join(", ")}`]),
    ...(endpoint === null ? [] : [`Endpoint = ${endpoint}`]),
    `PersistentKeepalive = ${keepaliveSec === 0 ? "off" : keepaliveSec}`,
    "",
  ].join("\n");
}

/** What can be used here: `wg` in any case, and a module or the program. */
export async function findWireguardSupport(
  runner: Runner,
  which: (program: string) => string | null,
): Promise<NetworkState["wireguardSupport"]> {
  if (which("wg") === null) return null;
  if (existsSync("/sys/module/wireguard")) return "kernel";
  if (which("modprobe") !== null) {
    const { code } = await runner.run(["modprobe", "--dry-run", "--quiet", "wireguard"], { okCodes: [0, 1, 2, 255] });
    if (code === 0) return "kernel";
  }
  return which("wireguard-go") === null ? null : "program";
}
