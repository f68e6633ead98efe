/** `apollo discovery agent` as its users meet it: several real processes on one machine, without root. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { OWN_DEFINITION } from "../../src/discovery-agent/script-rules.ts";
import { freePorts, type NodeStart, until, withDirectory, withNodes } from "./node.fixture.ts";

const LONG_MS = 60_000;

async function places(directory: string): Promise<{ server: NodeStart; clients: readonly NodeStart[] }> {
  const ports = await freePorts();
  const server = { name: "s1", address: "127.0.0.1", ports, directory, flags: ["--server", "--bootstrap"] };
  const join = ["--join", `127.0.0.1:${ports.cluster}`];
  const clients = ["127.0.0.2", "127.0.0.3"].map((address, at) => ({
    name: `c${at + 1}`,
    address,
    ports,
    directory,
    flags: join,
  }));
  return { server, clients };
}

test(
  "three processes: members, keys, checks, DNS, a death, a return, a leave",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const { server, clients } = await places(directory);
        const s1 = begin(server);
        const [c1, c2] = clients.map((start) =>
          begin(start.name === "c2" ? { ...start, flags: [...(start.flags ?? []), "--enable-script-checks"] } : start),
        );
        if (c1 === undefined || c2 === undefined) throw new Error("two clients were asked for");
        const readyMs = await Promise.all([s1, c1, c2].map((node) => node.ready()));
        console.log(`ready after ${readyMs.join(", ")} ms`);
        await until("all to be members", async () => Object.keys(await c2.statuses()).length === 3);
        expect(await c1.statuses()).toEqual({ s1: 1, c1: 1, c2: 1 });
        expect(await c1.get("status/leader")).toBe(`127.0.0.1:${server.ports.server}`);
        expect(await s1.get("status/peers")).toEqual([`127.0.0.1:${server.ports.server}`]);
        expect(await c1.dig("consul.service.consul", "SRV")).toEqual([
          `1 1 ${server.ports.server} s1.node.dc1.consul.`,
        ]);

        // Scripts are off, on the server's own port and on one that passes requests on; each node speaks for itself.
        const script = { Name: "disk", Args: ["true"], Interval: "1s" };
        for (const node of [s1, c1]) {
          const refused = await node.ask("PUT", "agent/check/register", script);
          expect([refused.status, refused.text]).toEqual([500, expect.stringContaining("Scripts are disabled")]);
        }
        await c2.put("agent/check/register", script);
        const disk = (): Promise<Readonly<Record<string, { readonly Status: string }>>> => c2.get("agent/checks");
        await until("its script to pass", async () => (await disk())["disk"]?.Status === "passing");

        await c1.put("kv/some/key", "value of c1");
        expect((await c2.ask("GET", "kv/some/key?raw")).text).toBe("value of c1");
        expect((await c1.get<{ Config: { NodeName: string } }>("agent/self")).Config.NodeName).toBe("c1");

        // A check that runs on its own node: c2 asks its own HTTP port.
        const place = `${c2.start.address}:${c2.start.ports.http}`;
        const check = { HTTP: `http://${place}/v1/status/leader`, Interval: "1s" };
        await c2.put("agent/service/register", { Name: "web", Port: 80, Check: check });
        await until("the check to pass", async () => (await s1.check("web"))?.Status === "passing");
        const passing = await c1.get<readonly { Node: { Node: string } }[]>("health/service/web?passing");
        expect(passing.map(({ Node }) => Node.Node)).toEqual(["c2"]);
        expect(await c1.dig("c2.node.consul")).toEqual(["127.0.0.3"]);
        await until("DNS to have it everywhere", async () => {
          const answers = await Promise.all([s1, c1, c2].map((node) => node.dig("web.service.consul")));
          return answers.every((answer) => answer.join() === "127.0.0.3");
        });
        expect((await s1.dig("web.service.consul", "SRV")).join()).toMatch(/^1 1 80 .*consul\.$/);

        const goneMs = await (async () => {
          c2.signal("SIGKILL");
          return until("its death to be seen", async () => (await c1.statuses())["c2"] === 4);
        })();
        console.log(`a killed node was failed after ${Math.round(goneMs)} ms`);
        expect(await c1.get("health/service/web?passing")).toEqual([]);
        expect(await c1.get("catalog/service/web")).toHaveLength(1);
        await until("DNS to leave it out", async () => (await c1.dig("web.service.consul")).length === 0);

        const again = begin(c2.start);
        await until("it to be back", async () => (await s1.statuses())["c2"] === 1);
        await until("its check to pass again", async () => (await s1.check("web"))?.Status === "passing");
        expect(again.said).not.toContain("joined");
        await until("DNS to have it again", async () => (await s1.dig("web.service.consul")).join() === "127.0.0.3");

        await again.put("agent/leave");
        expect(await again.ended()).toBe(0);
        expect((await s1.statuses())["c2"]).toBe(3);
        expect(await s1.get("catalog/service/web")).toEqual([]);

        // Through another client, as on any agent of Consul's.
        const unknown = await c1.ask("PUT", "agent/force-leave/nobody");
        expect([unknown.status, unknown.text]).toEqual([500, "agent: No node found with name 'nobody'"]);
        expect((await c1.ask("PUT", "agent/force-leave/s1")).status).toBe(409);
        await c1.put("agent/force-leave/c2");
        expect((await c1.statuses())["c2"]).toBe(3);
        await c1.put("agent/force-leave/c2?prune");
        expect(await c1.statuses()).toEqual({ s1: 1, c1: 1 });
        expect((await c1.ask("PUT", "agent/join/127.0.0.3")).status).toBe(500);
        await c1.put(`agent/join/127.0.0.1:${server.ports.cluster}`);

        c1.signal("SIGINT");
        expect(await c1.ended()).toBe(0);
        s1.signal("SIGINT");
        expect(await s1.ended()).toBe(0);
      }),
    ),
  LONG_MS,
);

test(
  "a server that is killed comes back with all it acknowledged; its clients serve DNS meanwhile, and force-leave buries the dead",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const { server, clients } = await places(directory);
        const [first] = clients;
        if (first === undefined) throw new Error("a client was asked for");
        const s1 = begin(server);
        const c1 = begin(first);
        await Promise.all([s1.ready(), c1.ready()]);
        await until("both to be members", async () => (await c1.statuses())["s1"] === 1);
        await s1.put("kv/kept", "yes");
        await s1.put("agent/service/register", { Name: "told", Check: { TTL: "2s", Status: "passing" } });
        s1.signal("SIGKILL");
        await s1.ended();
        expect(await c1.dig("c1.node.consul")).toEqual(["127.0.0.2"]);
        await until("the client to say so", async () => (await c1.ask("GET", "kv/kept")).text === "No cluster leader");

        const back = begin(server);
        await back.ready();
        await until("the client to be back", async () => (await c1.ask("GET", "kv/kept?raw")).text === "yes");
        // A TTL that ran when the server was killed: its time begins anew, and nobody reports.
        await until("the TTL to expire", async () => (await back.check("told"))?.Status === "critical");

        c1.signal("SIGKILL");
        await c1.ended();
        expect((await back.ask("PUT", "agent/force-leave/c1")).status).not.toBe(200);
        await until("its death to be seen", async () => (await back.statuses())["c1"] === 4);
        await back.put("agent/force-leave/c1");
        expect((await back.statuses())["c1"]).toBe(3);
        const anew = begin(first);
        await until("it to join anew", async () => (await back.statuses())["c1"] === 1);
        anew.signal("SIGTERM");
        expect(await anew.ended()).toBe(0);
      }),
    ),
  LONG_MS,
);

test(
  "services and checks of configuration files are registered, run, and taken away when no file names them",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const { server } = await places(directory);
        const file = join(directory, "agent.json");
        const good = { name: "web", id: "web-1", port: 80, checks: [{ args: ["true"], interval: "1s" }] };
        const bad = { name: "batch", check: { args: ["sh", "-c", "echo so so; exit 1"], interval: "1s" } };
        const config = { node_name: "s1", enable_local_script_checks: true, services: [good, bad] };
        writeFileSync(file, JSON.stringify(config));
        const start = { ...server, flags: [...(server.flags ?? []), "--config-file", file] };
        const s1 = begin(start);
        await until("the good one", async () => (await s1.check("web"))?.Status === "passing");
        await until("the other one", async () => (await s1.check("batch"))?.Status === "warning");
        expect((await s1.check("batch"))?.Output).toBe("so so\n");
        // A script that is in no file is not taken, and one that is taken as if it were is not run.
        const other = { Name: "other", Check: { Args: ["id"], Interval: "1s" } };
        const refused = await s1.ask("PUT", "agent/service/register", other);
        expect([refused.status, refused.text]).toEqual([500, expect.stringContaining("Scripts are disabled")]);
        const pretended = await fetch(`http://${server.address}:${server.ports.http}/v1/agent/service/register`, {
          method: "PUT",
          headers: OWN_DEFINITION,
          body: JSON.stringify(other),
        });
        expect(pretended.status).toBe(200);
        await until("its end", async () => (await s1.check("other"))?.Output.includes("Scripts are disabled") === true);
        s1.signal("SIGTERM");
        expect(await s1.ended()).toBe(0);

        writeFileSync(file, JSON.stringify({ ...config, services: [good] }));
        const again = begin(start);
        await until(
          "the other one to go",
          async () => (await again.get<unknown[]>("catalog/service/batch")).length === 0,
        );
        expect(await again.get<unknown[]>("catalog/service/web")).toHaveLength(1);
      }),
    ),
  LONG_MS,
);

test(
  "a file with a script does not start a node that runs none, and says where it is",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const { server } = await places(directory);
        const file = join(directory, "web.hcl");
        writeFileSync(file, 'service { name = "web"\n check { args = ["true"]\n interval = "1s" } }');
        const node = begin({ ...server, flags: [...(server.flags ?? []), "--config-file", file] });
        expect(await node.ended()).not.toBe(0);
        await until("its word", () => Promise.resolve(node.said.includes("enable_local_script_checks")));
        expect(node.said).toContain(`Cannot use "${file}": services[0].checks[0].args is a script`);
      }),
    ),
  LONG_MS,
);

test(
  "ACLs of a configuration in HCL: files register with their token, and nobody ends a node without one",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const { server, clients } = await places(directory);
        const [first] = clients;
        if (first === undefined) throw new Error("a client was asked for");
        const file = join(directory, "agent.hcl");
        const write = (token: string): void =>
          writeFileSync(
            file,
            `acl {
              enabled        = true
              default_policy = "deny"
              tokens { default = "${token}" }
            }
            service {
              name = "web"
              port = 80
            }`,
          );
        write("none");
        const s1 = begin({ ...server, flags: [...(server.flags ?? []), "--config-file", file] });
        await s1.ready();
        expect((await s1.ask("GET", "kv/a")).status).toBe(403);
        const boot = JSON.parse((await s1.ask("PUT", "acl/bootstrap")).text) as { SecretID: string };
        const token = `token=${boot.SecretID}`;
        write(boot.SecretID);
        const c1 = begin({ ...first, flags: [...(first.flags ?? []), "--config-file", file] });
        await c1.ready();
        type Instance = { readonly Node: { readonly Node: string } };
        const found = (): Promise<readonly Instance[]> => s1.get(`health/service/web?${token}`);
        await until("the service of the file", async () => (await found()).length === 1);
        expect((await found())[0]?.Node.Node).toBe("c1");

        expect((await c1.ask("PUT", "agent/leave")).status).toBe(403);
        expect((await c1.ask("PUT", "agent/force-leave/s1")).status).toBe(403);
        expect(c1.exitCode).toBe(null);
        await c1.put(`agent/leave?${token}`);
        expect(await c1.ended()).toBe(0);
        expect(await found()).toEqual([]);
        expect((await s1.ask("PUT", "agent/leave")).status).toBe(403);
      }),
    ),
  LONG_MS,
);

test(
  "watches of a configuration call their handlers: a script for a key, a web hook for events",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const { server, clients } = await places(directory);
        const [first] = clients;
        if (first === undefined) throw new Error("a client was asked for");
        const said: string[] = [];
        const hook = Bun.serve({
          hostname: "127.0.0.1",
          port: 0,
          fetch: async (request) => {
            const events = (await request.json()) as readonly { readonly Name: string; readonly Payload: string }[];
            said.push(
              ...events.map(({ Name, Payload }) => `${request.headers.get("x-from")} ${Name} ${atob(Payload)}`),
            );
            return new Response("");
          },
        });
        const out = join(directory, "out");
        const file = join(directory, "watches.hcl");
        writeFileSync(
          file,
          `watches {
            type = "key"
            key  = "color"
            args = ["sh", "-c", "cat >> ${out} && echo :$CONSUL_INDEX >> ${out}"]
          }
          watches {
            type         = "event"
            name         = "deploy"
            handler_type = "http"
            http_handler_config { path = "http://127.0.0.1:${hook.port}/", header { x-from = ["c1"] } }
          }`,
        );
        const s1 = begin(server);
        const c1 = begin({ ...first, flags: [...(first.flags ?? []), "--config-file", file] });
        await Promise.all([s1.ready(), c1.ready()]);
        await s1.put("kv/color", "red");
        const text = async (): Promise<string> => ((await Bun.file(out).exists()) ? Bun.file(out).text() : "");
        await until("the script", async () => /^\{.*"Value":"cmVk".*\}:\d+\n$/.test(await text()));
        await s1.put("event/fire/deploy?node=%5Ec2%24", "not here");
        await s1.put("event/fire/deploy?node=%5Ec1%24", "here");
        await until("the hook", () => Promise.resolve(said.length > 0));
        expect(said).toEqual(["c1 deploy here"]);
        c1.signal("SIGTERM");
        expect(await c1.ended()).toBe(0);
        await hook.stop(true);
      }),
    ),
  LONG_MS,
);

test(
  "what cannot be is refused with the way out",
  () =>
    withDirectory((directory) =>
      withNodes(async (begin) => {
        const ports = await freePorts();
        const place = { name: "x", address: "127.0.0.1", ports, directory };
        const table: readonly (readonly [readonly string[], string])[] = [
          [["--server", "--join", "192.0.2.1"], "no server token is known for it"],
          [[], "it is no member of a cluster yet"],
          [["--bootstrap"], "only a server begins a cluster"],
          [["--join", "192.0.2.1"], "no token is known for it"],
          [["--server", "--config-file", join(directory, "none.json")], "none.json"],
        ];
        for (const [flags, words] of table) {
          const node = begin({ ...place, flags });
          expect(await node.ended()).toBeGreaterThan(0);
          expect(node.said).toContain(words);
        }
        const s1 = begin({ ...place, flags: ["--server"] });
        await s1.ready();
        const second = begin({ ...place, flags: ["--server"] });
        expect(await second.ended()).toBeGreaterThan(0);
        expect(second.said).toContain("another process uses it");
      }),
    ),
  LONG_MS,
);
