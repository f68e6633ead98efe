import type { ConnectResult, NetInspector } from "../ports/net-inspector.ts";

type Target = Parameters<NetInspector["connect"]>[1];
type Outcome = Pick<ConnectResult, "outcome" | "cause">;

/** A datagram that no protocol takes for its own; what listens there drops it. */
const DATAGRAM = "apollo-trace\n";

/** Tries one connection from the namespace that this process is in. Never rejects: what goes wrong is the answer. */
export async function connectProbe(target: Target): Promise<ConnectResult> {
  const startMs = performance.now();
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const late: Outcome =
    target.protocol === "udp"
      ? { outcome: "open", cause: null }
      : { outcome: "silent", cause: `no answer within ${target.timeoutMs / 1000} s` };
  const timer = setTimeout(() => resolve(late), target.timeoutMs);
  const close = await (target.protocol === "udp" ? sendUdp(target, resolve) : openTcp(target, resolve));
  const result = await promise;
  clearTimeout(timer);
  close();
  return { ...result, ms: Math.round((performance.now() - startMs) * 10) / 10 };
}

async function openTcp({ address, port }: Target, settle: (outcome: Outcome) => void): Promise<() => void> {
  let done = false;
  let close = (): void => undefined;
  const opened = (socket: { terminate(): void }): void => {
    close = () => socket.terminate();
    if (done) close();
  };
  Bun.connect({
    hostname: address,
    port,
    socket: {
      open: (socket) => {
        opened(socket);
        settle({ outcome: "open", cause: null });
      },
      data: () => undefined,
      error: (_, error) => settle(describe(error)),
    },
  }).then(opened, (error: unknown) => settle(describe(error)));
  return () => {
    done = true;
    close();
  };
}

/** Silence is the usual answer of UDP; that nobody listens is told by ICMP. */
async function sendUdp({ address, port }: Target, settle: (outcome: Outcome) => void): Promise<() => void> {
  try {
    const socket = await Bun.udpSocket({
      connect: { hostname: address, port },
      socket: {
        data: () => settle({ outcome: "open", cause: null }),
        error: (_, error) => settle(describe(error)),
      },
    });
    socket.send(DATAGRAM);
    return () => socket.close();
  } catch (error) {
    settle(describe(error));
    return () => undefined;
  }
}

function describe(error: unknown): Outcome {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  if (code === "ECONNREFUSED") return { outcome: "refused", cause: "connection refused" };
  if (["EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPERM"].includes(code)) {
    return { outcome: "unreachable", cause: code === "ENETUNREACH" ? "network unreachable" : "host unreachable" };
  }
  if (code === "ETIMEDOUT") return { outcome: "silent", cause: "no answer" };
  return { outcome: "failed", cause: error instanceof Error ? error.message : String(error) };
}
