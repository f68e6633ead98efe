/**
 * A host with a bridge and two containers on it, all network namespaces: containers' way to their name server. Whoever is
 * measured answers at an address of the bridge, and the questions come over a container's wire. Programs of ours are at the wire of
 * one; the other is as on a host without us, and asks everybody else. Beside it two hosts with nothing but loopback, where each
 * asks itself: one with our program there, and one as it is without us.
 */
import { ProcessRunner } from "../src/platform/linux/process-runner.ts";

/** Of the bridge, as many as there are contenders; the first is the host's gateway. */
export const LAB_ADDRESSES = ["10.2.1.1", "10.2.1.2", "10.2.1.3", "10.2.1.4"] as const;

export interface LabContainer {
  /** Before a command that is to run in it. */
  readonly prefix: readonly string[];
  /** Its wire, as the fast path wants to know it. */
  readonly port: { readonly device: string; readonly index: number; readonly mac: string; readonly address: string };
}

export interface DnsLab {
  readonly hostPrefix: readonly string[];
  readonly fast: LabContainer;
  readonly plain: LabContainer;
  /** Before commands on the hosts that ask themselves. */
  readonly loopback: { readonly fast: readonly string[]; readonly plain: readonly string[] };
  close(): Promise<void>;
}

export async function upDnsLab(): Promise<DnsLab> {
  const root = new ProcessRunner();
  const tag = `apollo-bench-dns-${process.pid}`;
  const [host, fast, plain] = [`${tag}-host`, `${tag}-fast`, `${tag}-plain`];
  const [loopbackFast, loopbackPlain] = [`${tag}-lo-fast`, `${tag}-lo-plain`];
  const names = [host, fast, plain, loopbackFast, loopbackPlain];
  const close = async (): Promise<void> => {
    for (const name of names) await root.run(["ip", "netns", "delete", name], { okCodes: [0, 1] });
  };
  try {
    for (const name of names) await root.run(["ip", "netns", "add", name]);
    for (const name of [host, loopbackFast, loopbackPlain])
      await root.run(["ip", "-n", name, "link", "set", "lo", "up"]);
    await root.run(["ip", "-n", host, "-batch", "-"], {
      stdin: [
        "link add apollo0 type bridge forward_delay 0 stp_state 0",
        ...LAB_ADDRESSES.map((address) => `address add ${address}/16 dev apollo0`),
        "link set apollo0 up",
        "",
      ].join("\n"),
    });
    return {
      hostPrefix: prefixOf(host),
      fast: await addContainer(root, host, { name: fast, address: "10.2.1.11", device: "veth-fast" }),
      plain: await addContainer(root, host, { name: plain, address: "10.2.1.12", device: "veth-plain" }),
      loopback: { fast: prefixOf(loopbackFast), plain: prefixOf(loopbackPlain) },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function addContainer(
  root: ProcessRunner,
  host: string,
  { name, address, device }: { readonly name: string; readonly address: string; readonly device: string },
): Promise<LabContainer> {
  await root.run(["ip", "-n", host, "-batch", "-"], {
    stdin: `link add ${device} type veth peer name eth0 netns ${name}\nlink set ${device} master apollo0 up\n`,
  });
  await root.run(["ip", "-n", name, "-batch", "-"], {
    stdin: `address add ${address}/16 dev eth0\nlink set eth0 up\n`,
  });
  const read = async (at: string, path: string): Promise<string> =>
    (await root.run([...prefixOf(at), "cat", path])).stdout.trim();
  const index = Number(await read(host, `/sys/class/net/${device}/ifindex`));
  const mac = await read(name, "/sys/class/net/eth0/address");
  return { prefix: prefixOf(name), port: { device, index, mac, address } };
}

function prefixOf(name: string): readonly string[] {
  return ["ip", "netns", "exec", name];
}
