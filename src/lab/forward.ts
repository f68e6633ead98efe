import { connect, createServer } from "node:net";
import { mkdirSync } from "node:fs";
import { AppError } from "../model/error.ts";
import { enterFabric } from "./fabric.ts";
import { labPaths } from "./lab-paths.ts";
import type { LabNode } from "./lab-plan.ts";
import type { LabForward } from "./lab-state.ts";
import { startDaemon } from "./node-command.ts";
import type { ProcessRef } from "./process-table.ts";
import { waitFor } from "./wait-for.ts";

const FORWARD_TIMEOUT_MS = 5000;
/** Another process may take the port between our asking for it and socat's binding it. */
const ATTEMPTS = 5;

/**
 * Pipes a loopback port of the machine to a port of a node. A unix socket joins the two halves, so no interface and no
 * route of the lab is in the machine's own network. The inner half runs in the fabric and outlives the host's power.
 */
export async function startForward(
  lab: string,
  holders: { readonly gate: ProcessRef; readonly fabric: ProcessRef },
  target: { readonly node: LabNode; readonly port: number },
): Promise<LabForward> {
  const { node, port } = target;
  const sockets = labPaths(lab).sockets;
  mkdirSync(sockets, { recursive: true, mode: 0o700 });
  const socket = `${sockets}/${node.name}-${port}`;
  await startDaemon(lab, "fabric", {
    log: "forward",
    argv: [
      "socat",
      `UNIX-LISTEN:${socket},fork,unlink-early,mode=600`,
      `TCP:${node.address}:${port},connect-timeout=3`,
    ],
    enter: enterFabric(holders.fabric),
  });
  const enter = ["nsenter", "--target", String(holders.gate.pid), "--pid", "--"];
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const localPort = await findFreePort();
    const argv = ["socat", `TCP-LISTEN:${localPort},bind=127.0.0.1,fork,reuseaddr`, `UNIX-CONNECT:${socket}`];
    await startDaemon(lab, "gate", { log: "forward", argv, enter });
    const what = `the forwarder to ${node.name}:${port}`;
    try {
      await waitFor(() => canConnect(localPort), { what, timeoutMs: FORWARD_TIMEOUT_MS });
      return { node: node.name, targetPort: port, localPort };
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
  throw new AppError("unavailable", `Cannot forward to ${node.name}:${port}: no free port`);
}

/** A loopback port that nothing listened on a moment ago. */
export function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (typeof address === "object" && address !== null) resolve(address.port);
        else reject(new Error("A listening socket has no port"));
      });
    });
  });
}

/** True when something accepts connections on the loopback port. */
export function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => end(true));
    socket.on("error", () => end(false));
  });
}
