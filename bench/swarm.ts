/** Docker's own cluster on the engines of a lab, for benches that compare with it. */
import type { Lab } from "../src/lab/lab.ts";

/** All hosts of the lab are members, and `network` is one of overlay driver over them. `options`: of its making. */
export async function swarmUp(
  lab: Lab,
  { network, options }: { readonly network: string; readonly options: readonly string[] },
): Promise<void> {
  const [first = "h1", ...others] = lab.hosts;
  const { address } = lab.node(first);
  await lab.mustExec(first, ["docker", "swarm", "init", "--advertise-addr", address], { timeoutMs: 60_000 });
  const token = (await lab.mustExec(first, ["docker", "swarm", "join-token", "-q", "worker"])).trim();
  for (const host of others) {
    await lab.mustExec(host, ["docker", "swarm", "join", "--token", token, `${address}:2377`], { timeoutMs: 60_000 });
  }
  await lab.mustExec(first, ["docker", "network", "create", "-d", "overlay", ...options, network]);
}
