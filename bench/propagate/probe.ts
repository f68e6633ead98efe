/**
 * Runs in the network of one host of a lab, started by `host-probe.ts`: asks the host's DNS and looks into its HAProxy until they are
 * as expected, and says when that was. Commands and answers are lines of JSON.
 */
import { DnsEye, follow, proxyTargets } from "./eyes.ts";
import { type Expectation, type ProbeCommand, type Seen, sharedMs } from "./probe-protocol.ts";

const eyes = new Map<number, Promise<DnsEye>>();

async function expectAll({ name, backend, dnsPort, proxySocket, steps }: Expectation): Promise<Seen> {
  const opened = eyes.get(dnsPort) ?? DnsEye.open(dnsPort);
  eyes.set(dnsPort, opened);
  const eye = await opened;
  const [dns, proxy] = await Promise.all([
    follow(steps, () => eye.look(name)),
    follow(steps, () => proxyTargets(proxySocket, backend)),
  ]);
  return { dns, proxy };
}

async function put(path: string, body: unknown): Promise<{ readonly startMs: number; readonly endMs: number }> {
  const text = body === null ? "" : JSON.stringify(body);
  const startMs = sharedMs();
  const answer = await fetch(`http://127.0.0.1:8500${path}`, { method: "PUT", body: text });
  const said = await answer.text();
  if (!answer.ok) throw new Error(`PUT ${path}: ${answer.status} ${said}`);
  return { startMs, endMs: sharedMs() };
}

async function run(command: ProbeCommand): Promise<unknown> {
  switch (command.kind) {
    case "expect":
      return expectAll(command.expectation);
    case "put":
      return put(command.path, command.body);
    case "serve":
      Bun.serve({ hostname: "0.0.0.0", port: command.port, fetch: () => new Response(`${command.text}\n`) });
      return null;
  }
}

for await (const line of console) {
  if (line === "") continue;
  const command = JSON.parse(line) as ProbeCommand;
  run(command).then(
    (value) => console.log(JSON.stringify({ id: command.id, value })),
    (error: unknown) => console.log(JSON.stringify({ id: command.id, error: String(error) })),
  );
}
