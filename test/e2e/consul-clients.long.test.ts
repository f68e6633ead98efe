/**
 * Clients of Consul that others wrote, as Debian has them, on a lab: Prometheus and HAProxy's resolvers by DNS, python-consul over
 * HTTP. Debian 12 builds its Prometheus without consul_sd.
 */
import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { addressesOf } from "../../src/lab/dig.ts";
import { endDaemonOf } from "../../src/lab/lab-control.ts";
import { SERVER_NODE } from "../../src/lab/lab-plan.ts";
import { startDaemon, writeInNode } from "../../src/lab/node-command.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, deploy, eventually, webApp } from "./cluster.fixture.ts";

const name = testLab("csl");
const CONSUL = "http://127.0.0.1:8500/v1";
const PROXY_SOCKET = "/tmp/resolving-haproxy.sock";
const PROMETHEUS = "127.0.0.1:19090";
let world: TourWorld;

beforeAll(async () => {
  world = await clusterUp(name, 2);
  await deploy(world, webApp("web", { instances: 2 }));
  await startPrometheus();
  await startProxy();
});

const PROMETHEUS_FILE = `
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: web
    dns_sd_configs: [{ names: [_web._tcp.service.consul], type: SRV, refresh_interval: 1s }]
  - job_name: outside
    dns_sd_configs: [{ names: [_outside._tcp.service.consul], type: SRV, refresh_interval: 1s }]
`;

async function startPrometheus(): Promise<void> {
  writeInNode(name, "h1", "/tmp/prometheus.yml", PROMETHEUS_FILE);
  const flags = ["--config.file=/tmp/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus"];
  const argv = [
    "env",
    "GOMEMLIMIT=100MiB",
    "GOMAXPROCS=1",
    "prometheus",
    ...flags,
    `--web.listen-address=${PROMETHEUS}`,
  ];
  await startDaemon(name, "h1", { log: "prometheus", argv });
}

/** Five slots that HAProxy fills from SRV records by itself. */
const PROXY_FILE = `
global
  stats socket ${PROXY_SOCKET} mode 600
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
resolvers apollo
  nameserver agent 127.0.0.1:8600
  accepted_payload_size 8192
  timeout resolve 200ms
  timeout retry 200ms
  hold valid 200ms
  hold nx 200ms
  hold obsolete 200ms
frontend edge
  bind 127.0.0.1:18080
  default_backend web
backend web
  balance roundrobin
  server-template web 5 _web._tcp.service.consul resolvers apollo resolve-prefer ipv4 init-addr none check inter 500ms
`;

async function startProxy(): Promise<void> {
  writeInNode(name, "h1", "/tmp/resolving-haproxy.cfg", PROXY_FILE);
  await startDaemon(name, "h1", {
    log: "resolving-haproxy",
    argv: ["haproxy", "-db", "-f", "/tmp/resolving-haproxy.cfg"],
  });
}

const targetsShape = z.object({ data: z.object({ activeTargets: z.array(z.object({ scrapeUrl: z.string() })) }) });

/** `0a020102.addr.dc1.consul` is 10.2.1.2. */
function addressOf(host: string): string {
  const octets = /^([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})\.addr\./.exec(host)?.slice(1) ?? [];
  return octets.map((octet) => Number.parseInt(octet, 16)).join(".");
}

/** Addresses that Prometheus found. */
async function targets(): Promise<readonly string[]> {
  const text = await world.lab.mustExec("h1", [
    "curl",
    "-sf",
    "-m",
    "5",
    `http://${PROMETHEUS}/api/v1/targets?state=active`,
  ]);
  const { data } = targetsShape.parse(JSON.parse(text));
  return data.activeTargets.map(({ scrapeUrl }) => addressOf(new URL(scrapeUrl).host)).toSorted();
}

/** Addresses of the servers that HAProxy has filled in and found well. */
async function servers(): Promise<readonly string[]> {
  const argv = ["socat", "-", `UNIX-CONNECT:${PROXY_SOCKET}`];
  const text = await world.lab.mustExec("h1", argv, { stdin: "show servers state web\n" });
  return text
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, backend, , server, , state]) => backend === "web" && server !== undefined && state === "2")
    .map(([, , , , address = ""]) => address)
    .toSorted();
}

async function instances(): Promise<readonly string[]> {
  return addressesOf(await world.dig("h1", "web.service.consul", "A")).toSorted();
}

function same(
  what: string,
  found: () => Promise<readonly string[]>,
  wanted: () => Promise<readonly string[]>,
): Promise<true> {
  return eventually(what, async () => JSON.stringify(await found()) === JSON.stringify(await wanted()));
}

async function scaleTo(count: number): Promise<void> {
  await world.client.cli(["app", "scale", "web", String(count)]);
  await eventually(`${count} in DNS`, async () => (await instances()).length === count);
}

async function ask(
  host: string,
  method: string,
  path: string,
  body?: string,
): Promise<{ readonly status: number; readonly text: string }> {
  const data = body === undefined ? [] : ["--data-binary", body];
  const argv = ["curl", "-s", "-m", "10", "-X", method, ...data, "-w", "\n%{http_code}", `${CONSUL}/${path}`];
  const said = await world.lab.mustExec(host, argv);
  const at = said.lastIndexOf("\n");
  return { status: Number(said.slice(at + 1)), text: said.slice(0, at) };
}

test("Prometheus and HAProxy follow an app as it is scaled up and down", async () => {
  for (const count of [2, 4, 1]) {
    await scaleTo(count);
    await same(`${count} targets of Prometheus`, targets, instances);
    await same(`${count} servers of HAProxy`, servers, instances);
  }
  const answer = await world.lab.mustExec("h1", ["curl", "-sf", "-m", "5", "http://127.0.0.1:18080/"]);
  expect(answer).not.toBe("");
});

/** Debian's version is from before Consul 1.0, which took from some paths the verb that it uses: those are put by hand. */
const PYTHON_FILE = `
import base64, consul, json, threading
c = consul.Consul()
said = {}
said["put"] = c.kv.put("py/a", b"\\x00\\xff", flags=2**63 + 5)
index, row = c.kv.get("py/a")
said["value"] = base64.b64encode(row["Value"]).decode()
said["flags"] = str(row["Flags"])
threading.Timer(0.3, lambda: consul.Consul().kv.put("py/a", "new")).start()
index2, row = c.kv.get("py/a", index=index, wait="20s")
said["woken"] = [int(index2) > int(index), row["Value"].decode()]
said["keys"] = c.kv.get("py/", keys=True)[1]
session = c.session.create(name="lock", ttl=10, behavior="delete")
said["locked"] = c.kv.put("py/lock", "me", acquire=session)
said["destroyed"] = [c.session.destroy(session), c.kv.get("py/lock")[1]]
said["registered"] = c.agent.service.register("py", service_id="py1", port=7000, tags=["t"], check=consul.Check.ttl("30s"))
put = lambda path, **params: c.http.put(consul.base.CB.bool(), "/v1/agent/" + path, params=params)
said["passed"] = put("check/pass/service:py1")
nodes = c.health.service("py", passing=True)[1]
said["found"] = [[n["Node"]["Node"], n["Service"]["ID"], n["Service"]["Port"], n["Service"]["Tags"]] for n in nodes]
said["names"] = sorted(c.catalog.services()[1].keys())
said["self"] = c.agent.self()["Config"]["NodeName"]
said["maintenance"] = [put("service/maintenance/py1", enable="true"), len(c.health.service("py", passing=True)[1])]
said["gone"] = [put("service/deregister/py1"), c.health.service("py")[1]]
said["deleted"] = [c.kv.delete("py/", recurse=True), c.kv.get("py/", recurse=True)[1]]
print(json.dumps(said))
`;
import { testLab } from "./test-lab.fixture.ts";

test("the server is found in the DNS of every host, and is no service of the platform", async () => {
  for (const host of ["h1", "h2"]) {
    const found = addressesOf(await world.dig(host, "consul.service.consul", "A"));
    expect(found).toHaveLength(1);
    expect((await world.viaIngress(host, "consul.example.com")).status).toBe(503);
  }
  expect(await world.client.cli(["service", "list"])).not.toMatch(/^consul\b/m);
});

test("python-consul keeps keys, locks, registers and finds with the agent of its host", async () => {
  writeInNode(name, "h2", "/tmp/client.py", PYTHON_FILE);
  const said: unknown = JSON.parse(await world.lab.mustExec("h2", ["/usr/bin/python3", "/tmp/client.py"]));
  expect(said).toEqual({
    put: true,
    value: new Uint8Array([0, 255]).toBase64(),
    flags: String(2n ** 63n + 5n),
    woken: [true, "new"],
    keys: ["py/a"],
    locked: true,
    destroyed: [true, null],
    registered: true,
    passed: true,
    found: [["h2", "py1", 7000, ["t"]]],
    names: ["consul", "py", "web"],
    self: "h2",
    maintenance: [true, 0],
    gone: [true, []],
    deleted: [true, null],
  });
});

test("what is registered with one host's agent is found on all: in DNS, by Prometheus, through the ingress", async () => {
  const [address = ""] = await instances();
  const check = { CheckID: "own", Name: "own", TTL: "1h", Status: "passing" };
  const body = JSON.stringify({ Name: "outside", ID: "o1", Address: address, Port: 80, Tags: ["blue"], Check: check });
  expect(await ask("h2", "PUT", "agent/service/register", body)).toEqual({ status: 200, text: "" });
  const found = async (): Promise<readonly string[]> =>
    addressesOf(await world.dig("h1", "blue.outside.service.consul", "A"));
  await eventually("its name on h1", async () => (await found())[0] === address);
  await eventually("its target", async () => (await targets()).filter((each) => each === address).length === 2);
  await eventually("its route", async () => (await world.viaIngress("h1", "outside.example.com")).status === 200);
  expect(await world.client.cli(["service", "show", "outside"])).toContain(address);
  // Its own check says no: it is out everywhere, and in again when it says yes.
  expect((await ask("h2", "PUT", "agent/check/fail/own")).status).toBe(200);
  await eventually("no address", async () => (await found()).length === 0);
  await eventually("no server", async () => (await world.viaIngress("h1", "outside.example.com")).status === 503);
  expect((await ask("h2", "PUT", "agent/check/pass/own")).status).toBe(200);
  await eventually("its address", async () => (await found())[0] === address);
  expect((await ask("h2", "PUT", "agent/service/deregister/o1")).status).toBe(200);
  await eventually(
    "no such name",
    async () => (await world.dig("h1", "outside.service.consul", "A")).status === "NXDOMAIN",
  );
  await same("one target", targets, instances);
});

test("maintenance of a container's service takes it out on its own host and on others", async () => {
  await world.client.cli(["service", "maintenance", "web", "on"]);
  for (const host of ["h1", "h2"]) {
    await eventually(
      `out of DNS of ${host}`,
      async () => addressesOf(await world.dig(host, "web.service.consul", "A")).length === 0,
    );
    await eventually(
      `out of the ingress of ${host}`,
      async () => (await world.viaIngress(host, "web.example.com")).status === 503,
    );
  }
  await world.client.cli(["service", "maintenance", "web", "off"]);
  for (const host of ["h1", "h2"])
    await eventually(
      `back in the ingress of ${host}`,
      async () => (await world.viaIngress(host, "web.example.com")).status === 200,
    );
});

test("containers read at the bridge's address and change nothing; without a server the catalog is still there", async () => {
  const [container = ""] = (await world.lab.mustExec("h1", ["docker", "ps", "-q"]))
    .split("\n")
    .filter((line) => line !== "");
  const host = container === "" ? "h2" : "h1";
  const [id = ""] = (await world.lab.mustExec(host, ["docker", "ps", "-q"])).split("\n");
  const pid = (await world.lab.mustExec(host, ["docker", "inspect", "--format", "{{.State.Pid}}", id])).trim();
  const gateway = /via (\S+)/.exec(
    await world.lab.mustExec(host, ["nsenter", "-t", pid, "-n", "ip", "route", "show", "default"]),
  )?.[1];
  const inside = async (...argv: readonly string[]): Promise<string> =>
    world.lab.mustExec(host, [
      "nsenter",
      "-t",
      pid,
      "-n",
      "curl",
      "-s",
      "-m",
      "10",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      ...argv,
    ]);
  expect(await inside(`http://${gateway}:8500/v1/health/service/web`)).toBe("200");
  expect(await inside("-X", "PUT", "--data-binary", "x", `http://${gateway}:8500/v1/kv/x`)).toBe("403");
  expect((await ask("h1", "PUT", "kv/x", "y")).text).toBe("true");
  await endDaemonOf(name, SERVER_NODE, "apollo", "SIGTERM");
  await eventually("the agent to notice", async () => (await ask("h1", "GET", "status/leader")).text === '""');
  const known = await ask("h1", "GET", "health/service/web?passing");
  expect(known.status).toBe(200);
  expect(JSON.parse(known.text)).toHaveLength(1);
  expect(await ask("h1", "PUT", "kv/x", "z")).toEqual({ status: 500, text: "No cluster leader" });
  await same("one target", targets, instances);
});
