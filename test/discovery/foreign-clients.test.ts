/**
 * What clients of Consul that others wrote send to `apollo discovery agent`, byte by byte where it matters, as was seen when they
 * were run against it; see the table in docs/consul-parity.md.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { type DiscoveryProcess, freePorts, until, withDirectory, withNodes } from "./node.fixture.ts";

setDefaultTimeout(120_000);

function withNode(run: (node: DiscoveryProcess) => Promise<void>, client = "127.0.0.1"): Promise<void> {
  return withDirectory((directory) =>
    withNodes(async (begin) => {
      const flags = ["--server", "--bootstrap", "--client", client];
      const node = begin({ name: "n1", address: "127.0.0.1", ports: await freePorts(), directory, flags });
      await node.ready();
      await run(node);
    }),
  );
}

/** Sends the bytes and gives all that comes until the other side closes. */
function exchange(port: number, head: readonly string[], body = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(`${[...head, "Connection: close"].join("\r\n")}\r\n\r\n${body}`);
    });
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (piece: string) => (text += piece));
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });
}

test("Go's clients, Node's and shell scripts: doubled slashes, other names of the machine, headers' spelling", () =>
  withNode(async (node) => {
    const { http } = node.start.ports;
    // crypt, over Go's first client: it writes a key without its first slash and reads it with it.
    await node.put("kv/crypt/k", "value");
    const moved = await exchange(http, ["GET /v1/kv//crypt/k HTTP/1.1", "Host: 127.0.0.1:8500"]);
    expect(moved).toStartWith("HTTP/1.1 301 ");
    expect(moved).toContain("\r\nLocation: /v1/kv/crypt/k\r\n");
    const followed = await fetch(`http://127.0.0.1:${http}//v1/kv//crypt/k?raw`);
    expect([followed.status, await followed.text()]).toEqual([200, "value"]);
    // @creditkarma/consul-client sends `Host: consul`, wherever it goes.
    const put = ["PUT /v1/kv/ck/a%20b HTTP/1.1", "host: consul", "accept: application/json", "content-length: 7"];
    expect(await exchange(http, put, '{"x":1}')).toEndWith("\r\n\r\ntrue");
    expect(await exchange(http, ["GET /v1/kv/ck?keys HTTP/1.1", "host: consul"])).toEndWith('["ck/a b"]');
    const page = ["GET /v1/kv/ck?keys HTTP/1.1", "Host: rebound.evil.example"];
    expect(await exchange(http, page)).toStartWith("HTTP/1.1 403 ");
    expect(await exchange(http, ["GET /v1/kv/ck?keys HTTP/1.1", "Host: consul", "Accept-Language: de"])).toStartWith(
      "HTTP/1.1 403 ",
    );
    // What scripts cut the index out with.
    const read = await exchange(http, ["GET /v1/kv/none HTTP/1.1", "Host: localhost:8500", "Accept-Encoding: gzip"]);
    expect(read).toMatch(/^X-Consul-Index: [1-9]\d*\r$/m);
    expect(read).toMatch(/^X-Consul-Knownleader: true\r$/m);
    // A body in chunks, and one that waits to be asked for.
    const chunked = ["PUT /v1/kv/c HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"];
    expect(await exchange(http, chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).toEndWith("true");
    expect(await exchange(http, ["GET /v1/kv/c?raw HTTP/1.1", "Host: localhost"])).toEndWith("\r\n\r\nabcde");
    const waiting = ["PUT /v1/kv/e HTTP/1.1", "Host: localhost", "Expect: 100-continue", "Content-Length: 2"];
    expect(await exchange(http, waiting, "ok")).toEndWith("true");
  }));

test("DNS forwarders ask for the servers first, and find them", () =>
  withNode(async (node) => {
    await until("the server in DNS", async () => (await node.dig("consul.service.consul", "A"))[0] === "127.0.0.1");
    expect(await node.dig("consul.service.dc1.consul", "SRV")).toEqual([
      `1 1 ${node.start.ports.server} n1.node.dc1.consul.`,
    ]);
    // Python-consul asks for what there is the same way.
    expect(await node.get<object>("catalog/services")).toEqual({ consul: [] });
  }));

test("a program that reaches its own machine by that one's address is at home there", () => {
  const addresses = Object.values(networkInterfaces()).flatMap((all = []) => all);
  const outer = addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address;
  // Without a network there is only loopback, which is at home in any case.
  const address = outer ?? "127.0.0.1";
  return withNode(async (node) => {
    const base = `http://${address}:${node.start.ports.http}/v1`;
    const put = await fetch(`${base}/kv/own`, { method: "PUT", body: "x" });
    expect([put.status, await put.text()]).toEqual([200, "true"]);
    const page = await fetch(`${base}/kv/own?raw`, { headers: { origin: "http://evil.example" } });
    expect(page.status).toBe(403);
  }, "0.0.0.0");
});
