import type { HostAddress } from "../../model/ip6.ts";
import type { SeenMachine } from "../../platform/ports/host-examiner.ts";
import { checkRangeClash } from "../blocks.ts";
import { BRIDGE, BRIDGE_FILTER_KEY } from "../plan-network.ts";
import { name, ruleCure } from "../trace/explain-far.ts";
import { findDropRules } from "../trace/find-drop-rules.ts";
import type { DropRule } from "../trace/find-drop-rules.ts";
import { type LocalFinding, UNDERLAY_PORTS } from "./doctor-facts.ts";

export interface MachineInput {
  readonly machine: SeenMachine;
  /** Name of the host, for commands. */
  readonly host: string;
  /** Address that other hosts reach it by. */
  readonly address: HostAddress | null;
  /** Null before it is known, at a join. */
  readonly range: string | null;
  /** Of IPv6 addresses; null or missing for none, or not known. */
  readonly range6?: string | null;
  /** An address of another host, for rules that look at where packets come from; null: not known. */
  readonly peer: HostAddress | null;
  /** The agent is at work: what it sets up itself must be there. */
  readonly running: boolean;
}

/** Images and logs share the disk: with less the engine begins to fail. */
const DISK_ERROR_MIB = 256;
const DISK_WARNING_MIB = 2048;
/** The oldest engine that all of this was tried with. */
const ENGINE_MAJOR_MIN = 20;

/** What one machine can tell without others. Sorted by check; each check has at least one finding, `ok` when all is well. */
export function explainMachine(input: MachineInput): readonly LocalFinding[] {
  return [
    ...explainPrograms(input),
    ...explainKernel(input),
    ...explainRange(input),
    ...explainFirewall(input),
    ...explainEngine(input),
    ...explainResolver(input),
    ...explainDisk(input),
  ].toSorted((a, b) => (a.check < b.check ? -1 : a.check > b.check ? 1 : 0));
}

function explainPrograms({ machine: { missingPrograms } }: MachineInput): readonly LocalFinding[] {
  const packages: Readonly<Record<string, string>> = {
    ip: "iproute2",
    bridge: "iproute2",
    nft: "nftables",
    nsenter: "util-linux",
    sysctl: "procps",
    ping: "iputils-ping",
  };
  if (missingPrograms.length === 0) return [well("programs", "all there")];
  const install = [...new Set(missingPrograms.map((each) => packages[each] ?? each))].join(" ");
  // Without these two only diagnoses and the end of UDP flows are missing.
  const serious = missingPrograms.some((each) => each !== "ping" && each !== "conntrack");
  const text = `Programs are missing: ${missingPrograms.join(", ")}`;
  return [{ check: "programs", state: serious ? "error" : "warning", text, hint: `apt-get install ${install}` }];
}

function explainKernel({ machine, running, range6 = null }: MachineInput): readonly LocalFinding[] {
  const found: LocalFinding[] = [];
  const { sysctls, vxlan } = machine;
  if (running && sysctls["net/ipv4/ip_forward"] === "0") {
    found.push(
      bad(
        "kernel",
        "error",
        "IP forwarding is off: nothing passes this host",
        "sysctl -w net.ipv4.ip_forward=1; grep -r ip_forward /etc/sysctl*",
      ),
    );
  }
  if (running && range6 !== null && sysctls["net/ipv6/conf/all/forwarding"] === "0") {
    found.push(
      bad(
        "kernel",
        "error",
        "IPv6 forwarding is off: nothing of that family passes this host",
        "sysctl -w net.ipv6.conf.all.forwarding=1; grep -r forwarding /etc/sysctl*",
      ),
    );
  }
  if (sysctls["net/ipv4/conf/all/rp_filter"] === "1") {
    found.push(
      bad(
        "kernel",
        "warning",
        "Strict reverse path filter on all devices: relayed packets are dropped",
        "sysctl -w net.ipv4.conf.all.rp_filter=2",
      ),
    );
  }
  if (sysctls[BRIDGE_FILTER_KEY] === undefined) {
    found.push(
      bad(
        "kernel",
        "warning",
        "br_netfilter is not loaded: policy does not hold between containers of this host",
        "modprobe br_netfilter",
      ),
    );
  }
  if (vxlan === false)
    found.push(bad("kernel", "error", "The kernel has no VXLAN: routed hosts cannot be reached", "modprobe vxlan"));
  return found.length > 0 ? found : [well("kernel", "forwarding, filters and tunnels as needed")];
}

function explainRange({ machine, range, address, host }: MachineInput): readonly LocalFinding[] {
  const found: LocalFinding[] = [];
  if (address !== null && machine.addresses.length > 0 && !machine.addresses.includes(address)) {
    found.push(
      bad(
        "address",
        "warning",
        `${address} is not on this machine (NAT in between?)`,
        "apollo agent --address ADDRESS, with the one that other hosts reach it by",
      ),
    );
  }
  const clash = range === null ? null : checkRangeClash(range, machine.ranges);
  if (clash === null)
    return [...found, well("range", range === null ? "not known yet" : `${range} is free of own routes`)];
  const cure = clash.suggestion === null ? "" : `, or a cluster with --range ${clash.suggestion}`;
  return [
    ...found,
    bad(
      "range",
      "error",
      `Own routes ${clash.with.join(", ")} lie in the container range ${clash.range}`,
      `ip route   (on ${host}: remove them${cure})`,
    ),
  ];
}

/** Rules of others that stop what hosts send each other, or what containers do. */
function explainFirewall({
  machine: { ruleset },
  host,
  peer,
  address,
  range,
  range6 = null,
  running,
}: MachineInput): readonly LocalFinding[] {
  if (ruleset === null || address === null) return [];
  const path = { inDevice: null, outDevice: null, source: peer, destination: address, bytes: 100 } as const;
  const found: LocalFinding[] = [];
  const report = (what: string, drops: readonly DropRule[]): void => {
    const drop = drops.find(({ certain }) => certain);
    if (drop !== undefined)
      found.push(bad("firewall", "error", `${what}: ${name(drop)} drops it`, ruleCure(host, drop)));
  };
  for (const [port, what] of Object.entries(UNDERLAY_PORTS)) {
    report(
      `UDP ${port} (${what}) does not come in`,
      findDropRules(ruleset, { ...path, hook: "input", protocol: "udp", port: Number(port) }),
    );
  }
  for (const [each, what] of [
    [range, "Packets"],
    [range6, "IPv6 packets"],
  ] as const) {
    if (!running || each === null) continue;
    const [base = ""] = each.split("/");
    const inside = { source: base as HostAddress, destination: base as HostAddress, inDevice: null, outDevice: BRIDGE };
    report(
      `${what} to containers are not forwarded`,
      findDropRules(ruleset, { ...path, ...inside, hook: "forward", protocol: "tcp", port: null }),
    );
  }
  return found.length > 0 ? found : [well("firewall", "no rule of another table is in the way")];
}

function explainEngine({ machine: { engine } }: MachineInput): readonly LocalFinding[] {
  if (engine === null)
    return [bad("engine", "error", "The container engine does not answer", "systemctl status docker")];
  const { version, liveRestore, filters } = engine;
  const found: LocalFinding[] = [];
  if (Number.parseInt(version, 10) < ENGINE_MAJOR_MIN) {
    found.push(
      bad(
        "engine",
        "warning",
        `Docker ${version} is older than all that this was tried with`,
        `Update it to ${ENGINE_MAJOR_MIN}.10 or later`,
      ),
    );
  }
  if (liveRestore === false) {
    found.push(
      bad(
        "engine",
        "warning",
        "A restart of Docker ends all containers: live-restore is off",
        '"live-restore": true in /etc/docker/daemon.json, then systemctl reload docker',
      ),
    );
  }
  if (filters === false) {
    found.push(
      bad(
        "engine",
        "warning",
        'Docker keeps no filter rules ("iptables": false, or it is starting)',
        "Containers' way outside needs NAT then; see /etc/docker/daemon.json",
      ),
    );
  }
  return found.length > 0 ? found : [well("engine", `Docker ${version}`)];
}

function explainResolver({ machine: { nameservers }, running }: MachineInput): readonly LocalFinding[] {
  if (nameservers.length > 0) return [well("resolver", `/etc/resolv.conf: ${nameservers.join(", ")}`)];
  const text = "/etc/resolv.conf names no server: this host resolves no names";
  return [bad("resolver", running ? "error" : "warning", text, "See who writes it: ls -l /etc/resolv.conf")];
}

function explainDisk({ machine: { disk } }: MachineInput): readonly LocalFinding[] {
  if (disk === null) return [];
  const { freeMiB } = disk;
  const text = `${freeMiB} MiB free for the agent's data`;
  if (freeMiB >= DISK_WARNING_MIB) return [well("disk", text)];
  return [bad("disk", freeMiB < DISK_ERROR_MIB ? "error" : "warning", `Only ${text}`, "docker system df; df -h")];
}

function well(check: string, text: string): LocalFinding {
  return { check, state: "ok", text, hint: null };
}

function bad(check: string, state: "warning" | "error", text: string, hint: string): LocalFinding {
  return { check, state, text, hint };
}
