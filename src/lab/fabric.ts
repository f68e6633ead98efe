import { mkdirSync, writeFileSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { startHolder } from "./boot-node.ts";
import { labPaths } from "./lab-paths.ts";
import { OUTSIDE_ADDRESS, OUTSIDE_NAME, namespaceOf } from "./lab-plan.ts";
import type { LabNode, LabPlan } from "./lab-plan.ts";
import { startDaemon } from "./node-command.ts";
import type { ProcessRef } from "./process-table.ts";
import { mustRun } from "./run-command.ts";
import { waitFor } from "./wait-for.ts";

const SERVICE_TIMEOUT_MS = 15_000;
const TABLE = "apollo_lab";

/**
 * The physical network of a lab, in a namespace of its own: a bridge for each segment, the router between them (which is
 * also "the outside": it owns an address of the documentation range), and the table in which links are cut.
 */
export async function startFabric(plan: LabPlan): Promise<ProcessRef> {
  const network = namespaceOf(plan.name, "fabric");
  await mustRun(["ip", "netns", "add", network]);
  const lines = plan.segments.flatMap(({ bridge, gateway, prefix }) => [
    // No learning delay: a port forwards from its first frame.
    `link add ${bridge} type bridge forward_delay 0 stp_state 0`,
    `link set ${bridge} up`,
    // The router plugs into the segment as a host does. Were the bridge itself its interface, the kernel would cut large
    // tunnel packets to wire size on their way to it, which no switch does, and tunnels would look four times slower.
    `link add ${bridge}-gw type veth peer name ${bridge}-port`,
    `link set ${bridge}-port master ${bridge} up`,
    `address add ${gateway}/${prefix} dev ${bridge}-gw`,
    `link set ${bridge}-gw up`,
  ]);
  const batch = ["link set lo up", `address add ${OUTSIDE_ADDRESS}/32 dev lo`, ...lines, ""].join("\n");
  await mustRun(["ip", "-n", network, "-batch", "-"], { stdin: batch });
  const holder = await startHolder(plan.name, "fabric", { network, kinds: [] });
  const enter = enterFabric(holder);
  await mustRun([...enter, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
  await mustRun([...enter, "nft", "-f", "-"], { stdin: renderFabricRules(plan.nodes) });
  return holder;
}

export function enterFabric(holder: ProcessRef): readonly string[] {
  return ["nsenter", "--target", String(holder.pid), "--net", "--pid", "--"];
}

/**
 * Frames are marked by the port they come in by and dropped at the port they leave by: that catches all of a link, ARP
 * and tunnels included, the same within a segment and across the router, since the mark outlives routing.
 */
export function renderFabricRules(nodes: readonly LabNode[]): string {
  const marks = nodes.map((node) => `"${node.name}" : ${node.mark}`).join(", ");
  return `table bridge ${TABLE} {
  set cuts { typeof meta mark . oifname; }
  chain enter {
    type filter hook prerouting priority 0; policy accept;
    meta mark set iifname map { ${marks} }
  }
  chain leave {
    type filter hook postrouting priority 0; policy accept;
    meta mark . oifname @cuts drop
  }
  chain narrow {
    type filter hook postrouting priority 1; policy accept;
  }
}
`;
}

/**
 * Drops what goes from one of these nodes to another in frames of more than so many bytes of IP packet, and says nothing of it,
 * as a broken router does; null lets all pass. The server and the machine are reached as ever.
 */
export async function narrowFabric(lab: string, nodes: readonly LabNode[], bytesMax: number | null): Promise<void> {
  const marks = nodes.map(({ mark }) => mark).join(", ");
  const ports = nodes.map(({ name }) => `"${name}"`).join(", ");
  const drop = `meta mark { ${marks} } oifname { ${ports} } meta length > ${bytesMax} drop`;
  const rule = bytesMax === null ? "" : `add rule bridge ${TABLE} narrow ${drop}\n`;
  await mustRun(["ip", "netns", "exec", namespaceOf(lab, "fabric"), "nft", "-f", "-"], {
    stdin: `flush chain bridge ${TABLE} narrow\n${rule}`,
  });
}

/** Frames of a node that came later are marked as those of the first ones are. */
export async function markNode(lab: string, node: LabNode): Promise<void> {
  await nft(lab, [
    "add",
    "rule",
    "bridge",
    TABLE,
    "enter",
    "iifname",
    node.name,
    "meta",
    "mark",
    "set",
    `${node.mark}`,
  ]);
}

/** Drops everything that goes from one node to the other, from now on; already cut is fine. */
export async function cutOneWay(lab: string, from: LabNode, to: LabNode): Promise<void> {
  await nft(lab, ["add", "element", "bridge", TABLE, "cuts", `{ ${from.mark} . "${to.name}" }`]);
}

/** Already whole is fine. */
export async function healOneWay(lab: string, from: LabNode, to: LabNode): Promise<void> {
  // Adding first makes the delete repeatable; both in one transaction, though a frame may slip either way.
  const element = `element bridge ${TABLE} cuts { ${from.mark} . "${to.name}" }`;
  await mustRun(["ip", "netns", "exec", namespaceOf(lab, "fabric"), "nft", "-f", "-"], {
    stdin: `add ${element}\ndelete ${element}\n`,
  });
}

/** Cut directions, as `from>to`, sorted. */
export async function listCuts(lab: string, nodes: readonly LabNode[]): Promise<readonly string[]> {
  const text = await nft(lab, ["-j", "list", "set", "bridge", TABLE, "cuts"]);
  return parseCuts(text, nodes);
}

/** Reads `nft -j list set`. @throws AppError `unavailable` for anything else. */
export function parseCuts(text: string, nodes: readonly LabNode[]): readonly string[] {
  const names = new Map(nodes.map((node) => [node.mark, node.name]));
  try {
    const listing = JSON.parse(text) as {
      readonly nftables: readonly {
        readonly set?: { readonly elem?: readonly { readonly concat: [number, string] }[] };
      }[];
    };
    const elements = listing.nftables.flatMap((entry) => entry.set?.elem ?? []);
    return elements.map(({ concat: [mark, to] }) => `${names.get(mark) ?? mark}>${to}`).toSorted();
  } catch (cause) {
    throw new AppError("unavailable", "Cannot read the fabric's cuts: nft said something else", { cause });
  }
}

function nft(lab: string, argv: readonly string[]): Promise<string> {
  return mustRun(["ip", "netns", "exec", namespaceOf(lab, "fabric"), "nft", ...argv]);
}

/** The resolver that hosts find in their /etc/resolv.conf: it knows the registry, the hosts and one outside name. */
export async function startResolver(plan: LabPlan, holder: ProcessRef, signal?: AbortSignal): Promise<void> {
  const records = plan.nodes.map((node) => `--host-record=${node.name}.lab,${node.address}`);
  const registry = plan.segments.map(({ gateway }) => gateway)[0] ?? "";
  const argv = [
    "dnsmasq",
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--pid-file=",
    "--user=root",
    "--no-resolv",
    "--no-hosts",
    "--bind-dynamic",
    // Types that these names do not have are answered "no data": a refusal makes some clients fail the whole look-up.
    "--local=/lab/",
    `--local=/${OUTSIDE_NAME}/`,
    "--log-facility=-",
    `--host-record=registry.lab,${registry}`,
    `--host-record=${OUTSIDE_NAME},${OUTSIDE_ADDRESS}`,
    ...records,
  ];
  await startDaemon(plan.name, "fabric", { log: "dnsmasq", argv, enter: enterFabric(holder) });
  const ask = ["dig", `@${registry}`, "registry.lab", "+short", "+time=1", "+tries=1"];
  await waitFor(async () => (await mustRun([...enterFabric(holder), ...ask])).trim() === registry, {
    what: "the fabric's resolver",
    timeoutMs: SERVICE_TIMEOUT_MS,
    signal,
  });
}

/** Debian's docker-registry, with its storage in the lab's directory. */
export async function startRegistry(plan: LabPlan, holder: ProcessRef, signal?: AbortSignal): Promise<void> {
  const paths = labPaths(plan.name);
  mkdirSync(paths.registry, { recursive: true });
  // JSON is YAML; this way nothing needs quoting rules of its own.
  const config = {
    version: 0.1,
    log: { level: "warn", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: paths.registry }, delete: { enabled: true } },
    http: { addr: "0.0.0.0:5000" },
  };
  writeFileSync(paths.registryConfig, JSON.stringify(config));
  const argv = ["docker-registry", "serve", paths.registryConfig];
  await startDaemon(plan.name, "fabric", { log: "registry", argv, enter: enterFabric(holder) });
  const ask = ["curl", "-sf", "-m", "2", "http://127.0.0.1:5000/v2/"];
  await waitFor(async () => (await mustRun([...enterFabric(holder), ...ask])) !== "", {
    what: "the lab's registry",
    timeoutMs: SERVICE_TIMEOUT_MS,
    signal,
  });
}
