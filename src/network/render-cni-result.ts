import type { Ipv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import type { WireEnd6 } from "../platform/ports/wiring.ts";
import type { CniConfig, CniError, CniVersion } from "./parse-cni-request.ts";
import { CNI_VERSIONS } from "./parse-cni-request.ts";

/** What was made for a runtime. */
export interface CniMade {
  readonly address: Ipv4;
  readonly prefix: number;
  /** Null where nobody has it. */
  readonly gateway: Ipv4 | null;
  /** Null without IPv6. */
  readonly six: WireEnd6 | null;
  readonly mac: string;
  /** Host's end. */
  readonly device: string;
  readonly interfaceName: string;
  readonly netns: string;
  /** The interface is the way out. */
  readonly defaultRoute: boolean;
  readonly nameserver: Ipv4;
  readonly domain: string;
  readonly routes: readonly { readonly dst: string; readonly gw?: HostAddress | undefined }[];
}

/** The answer to ADD. */
export function renderCniResult(config: CniConfig, made: CniMade): string {
  const old = config.version.startsWith("0.");
  const { address, prefix, gateway, six, mac, device, interfaceName, netns, defaultRoute } = made;
  const ip = (version: string, cidr: string, at: HostAddress | null): object => ({
    ...(old ? { version } : {}),
    address: cidr,
    ...(at === null ? {} : { gateway: at }),
    interface: 1,
  });
  const gateway6 = six?.gateway ?? null;
  const routes6 =
    gateway6 === null
      ? []
      : [
          ...(six?.reach ? [{ dst: six.reach, gw: gateway6 }] : []),
          ...(defaultRoute ? [{ dst: "::/0", gw: gateway6 }] : []),
        ];
  return toText({
    cniVersion: config.version,
    interfaces: [{ name: device }, { name: interfaceName, mac, sandbox: netns }],
    ips: [
      ip("4", `${address}/${prefix}`, gateway),
      ...(six === null ? [] : [ip("6", `${six.address}/${six.prefix}`, gateway6)]),
    ],
    routes: [
      ...(defaultRoute && gateway !== null ? [{ dst: "0.0.0.0/0", gw: gateway }] : []),
      ...routes6,
      ...made.routes,
    ],
    // What the user wrote comes first; else the container asks this host's own server.
    dns: config.dns ?? { nameservers: [made.nameserver], domain: made.domain, search: [made.domain] },
  });
}

/** The answer to VERSION. */
export function renderCniVersions(): string {
  return toText({ cniVersion: CNI_VERSIONS.at(-1), supportedVersions: CNI_VERSIONS });
}

export function renderCniError(version: CniVersion, { code, message: msg, details }: CniError): string {
  return toText({ cniVersion: version, code, msg, ...(details === "" ? {} : { details }) });
}

function toText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
