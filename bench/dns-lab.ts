/**
 * A host with a bridge and one container on it, both network namespaces: containers' way to their name server. Whoever is measured
 * answers at the bridge's address, and the questions come through the container's wire.
 */
import { ProcessRunner } from "../src/platform/linux/process-runner.ts";

export const LAB_GATEWAY = "10.2.1.1";
const CONTAINER_ADDRESS = "10.2.1.5";
const WIRE = "veth-c";

/** Where a server runs, or whoever asks it. */
export interface LabPlace {
  /** Before the command that is to run there. */
  readonly prefix: readonly string[];
}

export interface DnsLab {
  readonly host: LabPlace;
  readonly container: LabPlace;
  /** The container's wire, as the fast path wants to know it. */
  readonly port: { readonly device: string; readonly index: number; readonly mac: string; readonly address: string };
  close(): Promise<void>;
}

export async function upDnsLab(): Promise<DnsLab> {
  const root = new ProcessRunner();
  const names = ["host", "box"].map((name) => `apollo-bench-dns-${process.pid}-${name}`);
  const [host = "", box = ""] = names;
  const close = async (): Promise<void> => {
    for (const name of names) await root.run(["ip", "netns", "delete", name], { okCodes: [0, 1] });
  };
  const prefix = (name: string): readonly string[] => ["ip", "netns", "exec", name];
  try {
    for (const name of names) await root.run(["ip", "netns", "add", name]);
    await root.run(["ip", "-n", host, "-batch", "-"], {
      stdin: [
        "link set lo up",
        "link add apollo0 type bridge forward_delay 0 stp_state 0",
        `address add ${LAB_GATEWAY}/16 dev apollo0`,
        "link set apollo0 up",
        `link add ${WIRE} type veth peer name eth0 netns ${box}`,
        `link set ${WIRE} master apollo0 up`,
        "",
      ].join("\n"),
    });
    await root.run(["ip", "-n", box, "-batch", "-"], {
      stdin: [`address add ${CONTAINER_ADDRESS}/16 dev eth0`, "link set eth0 up", ""].join("\n"),
    });
    const read = async (name: string, path: string): Promise<string> =>
      (await root.run([...prefix(name), "cat", path])).stdout.trim();
    const index = Number(await read(host, `/sys/class/net/${WIRE}/ifindex`));
    const mac = await read(box, "/sys/class/net/eth0/address");
    const port = { device: WIRE, index, mac, address: CONTAINER_ADDRESS };
    return { host: { prefix: prefix(host) }, container: { prefix: prefix(box) }, port, close };
  } catch (error) {
    await close();
    throw error;
  }
}
