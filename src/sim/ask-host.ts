import packet from "dns-packet";
import type { SimMachine } from "./sim-machine.ts";

const LOOPBACK = "127.0.0.1";
const CONSUL_PORT = 8600;

/** Addresses that a machine's DNS answers a service name with, sorted; null when nobody answers there. */
export function askName(machine: SimMachine, service: string): readonly string[] | null {
  const listener = machine.agent?.listener;
  const type = "A" as const;
  const question = packet.encode({ type: "query", id: 7, questions: [{ type, name: `${service}.service.consul` }] });
  const bytes = listener?.ask(LOOPBACK, CONSUL_PORT, question) ?? null;
  if (bytes === null) return null;
  const { answers = [] } = packet.decode(Buffer.from(bytes));
  return answers.flatMap((answer) => (answer.type === "A" ? [answer.data] : [])).toSorted();
}

/** Servers of a machine's HAProxy that take requests, as `backend ADDRESS:PORT`, sorted. */
export function readyServers(machine: SimMachine): readonly string[] {
  const { servers } = machine.proxy.state();
  const ready = servers.filter(({ state }) => state === "ready");
  return ready.map(({ backend, address, port }) => `${backend} ${address}:${port}`).toSorted();
}
