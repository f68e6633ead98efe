import type { Ipv4 } from "../model/ip.ts";
import type { CniConfig, CniError, CniVersion } from "./parse-cni-request.ts";
import { CNI_VERSIONS } from "./parse-cni-request.ts";

/** What was made for a runtime. */
export interface CniMade {
  readonly address: Ipv4;
  readonly prefix: number;
  readonly gateway: Ipv4;
  readonly mac: string;
  /** Host's end. */
  readonly device: string;
  readonly interfaceName: string;
  readonly netns: string;
  readonly nameserver: Ipv4;
  readonly domain: string;
  readonly routes: readonly { readonly dst: string; readonly gw?: Ipv4 | undefined }[];
}

/** The answer to ADD. */
export function renderCniResult(config: CniConfig, made: CniMade): string {
  const old = config.version.startsWith("0.");
  const { address, prefix, gateway, mac, device, interfaceName, netns } = made;
  const defaultRoute = config.isDefaultGateway ? [{ dst: "0.0.0.0/0", gw: gateway }] : [];
  return toText({
    cniVersion: config.version,
    interfaces: [{ name: device }, { name: interfaceName, mac, sandbox: netns }],
    ips: [{ ...(old ? { version: "4" } : {}), address: `${address}/${prefix}`, gateway, interface: 1 }],
    routes: [...defaultRoute, ...made.routes],
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
