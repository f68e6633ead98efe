import { afterAll, beforeAll, expect, test } from "bun:test";
import packet from "dns-packet";
import { DnsKernelLab, GATEWAY, type HostQuestion, endpoint, question } from "./dns-kernel-lab.ts";

const park = new DnsKernelLab("dnsh");
const SOME = 20;
const LOOPBACK = { to: "127.0.0.1", port: 8600 } as const;
const LOOPBACK6 = { to: "::1", port: 8600 } as const;
const CONNECTED = { from: "connected" } as const;

function shown(answer: Uint8Array | null | undefined): string {
  if (answer === null || answer === undefined) return "silent";
  const decoded = packet.decode(Buffer.from(answer));
  const data = (decoded.answers ?? []).map((each) => (each.type === "A" ? each.data : each.type));
  return [(decoded as unknown as { rcode: string }).rcode, ...data].join(" ");
}

const hex = (bytes: Uint8Array | null | undefined): string => Buffer.from(bytes ?? []).toString("hex");
const times = (count: number, name: string): readonly Uint8Array[] =>
  Array.from({ length: count }, () => question(name));
const always = (count: number, answer: string): string[] => Array.from({ length: count }, () => answer);

/** How many of these the kernel answers; what is answered is checked. */
async function byKernel(name: string, expected: string, at: Partial<HostQuestion> = {}): Promise<number> {
  const before = await park.counts();
  expect((await park.askFromHost(times(SOME, name), at)).map(shown)).toEqual(always(SOME, expected));
  return (await park.counts()).answered - before.answered;
}

async function nft(rules: string): Promise<void> {
  await park.host().runner.run(["nft", "-f", "-"], { stdin: rules });
}

async function lines(argv: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await park.host().runner.run(argv);
  return stdout.split("\n").filter((line) => line !== "");
}

beforeAll(async () => {
  await park.up();
  await park.startAgent();
}, 60_000);

afterAll(async () => {
  await park.close();
  expect(await park.lab.leftovers()).toEqual([]);
}, 60_000);

test.each([
  ["the gateway", { to: GATEWAY }],
  ["the gateway, from a socket of its own for it", { to: GATEWAY, ...CONNECTED }],
  ["127.0.0.1", { ...LOOPBACK, ...CONNECTED }],
  ["::1", { ...LOOPBACK6, ...CONNECTED }],
])("the host's questions to %s are answered by the kernel with the agent's bytes and their own id", async (_, at) => {
  await park.change([endpoint({ name: "web", service: "web", address: "10.9.0.1" })]);
  const asked = question("web.service.consul");
  const [fromAgent] = await park.askFromHost([asked], at);
  await park.teachHost(asked, at);
  const before = await park.counts();
  const again = question("web.service.consul");
  const [answer] = await park.askFromHost([again], at);
  const expected = Buffer.from(fromAgent ?? "");
  expected.set(again.subarray(0, 2));
  expect(shown(answer)).toBe("NOERROR 10.9.0.1");
  expect(hex(answer)).toBe(hex(expected));
  expect(await park.counts()).toEqual({ ...before, answered: before.answered + 1 });
  expect(await byKernel("web.service.consul", "NOERROR 10.9.0.1", at)).toBe(SOME);
});

test("what a container has taught is for the host as well, and dig agrees", async () => {
  await park.change([endpoint({ name: "both", service: "both", address: "10.9.0.2" })]);
  await park.teachHost(question("web.service.consul"));
  await park.teach("one", question("both.service.consul"));
  expect(await byKernel("both.service.consul", "NOERROR 10.9.0.2")).toBe(SOME);
  const dig = ["dig", "+short", "+noedns", "+noadflag", "both.service.consul"];
  const before = await park.counts();
  for (const at of [[`@${GATEWAY}`], ["@127.0.0.1", "-p", "8600"], ["@::1", "-p", "8600"]]) {
    expect(await lines([...dig, ...at])).toEqual(["10.9.0.2"]);
  }
  expect((await park.counts()).answered - before.answered).toBe(3);
  // With a cookie no question is like another: those are for the agent.
  expect(await lines(["dig", "+short", "both.service.consul", `@${GATEWAY}`])).toEqual(["10.9.0.2"]);
  expect((await park.counts()).answered - before.answered).toBe(3);
});

test("several endpoints come in several orders from the kernel", async () => {
  await park.change([
    endpoint({ name: "many-1", service: "many", address: "10.9.1.1" }),
    endpoint({ name: "many-2", service: "many", address: "10.9.1.2" }),
  ]);
  await park.teachHost(question("many.service.consul"));
  const before = await park.counts();
  const answers = (await park.askFromHost(times(400, "many.service.consul"))).map(shown);
  expect(new Set(answers)).toEqual(new Set(["NOERROR 10.9.1.1 10.9.1.2", "NOERROR 10.9.1.2 10.9.1.1"]));
  expect((await park.counts()).answered - before.answered).toBeGreaterThan(390);
});

test("answers that are cut, other sources, and at Consul's port sockets of no one peer: those are for the agent", async () => {
  const boxes = Array.from({ length: 60 }, (_, index) =>
    endpoint({ name: `big-${index}`, service: "big", address: `10.9.2.${index + 1}` }),
  );
  await park.change([...boxes, endpoint({ name: "plain", service: "plain", address: "10.9.3.1" })]);
  await park.teachHost(question("plain.service.consul"));
  const before = await park.counts();
  const big = await park.askFromHost(times(4, "big.service.consul"));
  expect(big.map((answer) => packet.decode(Buffer.from(answer ?? "")).flag_tc)).toEqual([true, true, true, true]);
  for (const at of [{ from: "127.0.0.1" }, LOOPBACK, LOOPBACK6]) {
    expect(await byKernel("plain.service.consul", "NOERROR 10.9.3.1", at)).toBe(0);
  }
  const { answered, passed } = await park.counts();
  expect([answered, passed - before.passed]).toEqual([before.answered, 4 + 2 * SOME]);
});

test("datagrams without a checksum are answered, and headers that lie about the length are not", async () => {
  await park.change([endpoint({ name: "raw", service: "raw", address: "10.9.4.1" })]);
  const good = question("raw.service.consul");
  await park.teachHost(good);
  // By hand. All bytes are below 128, so that text carries them.
  const asked = Uint8Array.of(1, 1, ...good.slice(2));
  const send = async (udpBytes: number): Promise<void> => {
    const header = [0x0f, 0x70, 0, 53, udpBytes >> 8, udpBytes & 0xff, 0, 0];
    const stdin = String.fromCharCode(...header, ...asked);
    await park.host().runner.run(["socat", "-u", "STDIN", `IP4-SENDTO:${GATEWAY}:17`], { stdin });
  };
  const before = await park.counts();
  for (const udpBytes of [0, 7, 8, good.length + 7, good.length + 9, 0x7f7f]) await send(udpBytes);
  expect((await park.counts()).answered).toBe(before.answered);
  await send(good.length + 8);
  expect((await park.counts()).answered).toBe(before.answered + 1);
});

test("a change is in every answer from the moment that the agent says so", async () => {
  await park.change([endpoint({ name: "moving", service: "moving", address: "10.9.5.0" })]);
  for (let version = 1; version <= SOME; version++) {
    await park.teachHost(question("moving.service.consul"));
    await park.change([endpoint({ name: "moving", service: "moving", address: `10.9.5.${version}` })]);
    const [first] = await park.askFromHost([question("moving.service.consul")], { ...LOOPBACK, ...CONNECTED });
    expect(shown(first)).toBe(`NOERROR 10.9.5.${version}`);
    const answers = await park.askFromHost(times(4, "moving.service.consul"));
    expect(answers.map(shown)).toEqual(always(4, `NOERROR 10.9.5.${version}`));
  }
}, 60_000);

test("questions that rules of the host lead to the agent are answered, however they were sent", async () => {
  await park.change([endpoint({ name: "led", service: "led", address: "10.9.6.1" })]);
  await park.teachHost(question("led.service.consul"));
  await nft(`table ip led {
    chain output {
      type nat hook output priority -100
      ip daddr 127.0.0.1 udp dport 53 redirect to :8600
      ip daddr 127.0.0.3 udp dport 53 dnat to ${GATEWAY}
    }
    chain prerouting {
      type nat hook prerouting priority -100
    }
    chain input {
      type nat hook input priority 100
    }
    chain postrouting {
      type nat hook postrouting priority 100
    }
  }`);
  try {
    for (const to of ["127.0.0.1", "127.0.0.3"]) {
      for (const how of [{}, CONNECTED]) {
        expect(await byKernel("led.service.consul", "NOERROR 10.9.6.1", { to, port: 53, ...how })).toBe(0);
      }
    }
    // With the table there, what is not led elsewhere is answered as before.
    expect(await byKernel("led.service.consul", "NOERROR 10.9.6.1")).toBe(SOME);
    expect(await byKernel("led.service.consul", "NOERROR 10.9.6.1", { ...LOOPBACK, ...CONNECTED })).toBe(SOME);
  } finally {
    await nft("delete table ip led");
  }
});

test("other traffic of the host with itself is left alone, also at ports and with bytes that are like ours", async () => {
  const host = park.host();
  await park.change([endpoint({ name: "other", service: "other", address: "10.9.7.1" })]);
  await park.teachHost(question("other.service.consul"));
  for (const port of [53, 8601]) {
    park.lab.start(host, ["socat", `UDP4-LISTEN:${port},bind=127.0.0.2,fork`, "EXEC:cat"]);
    await park.lab.listens(host, "-Hlun", port);
  }
  const before = await park.counts();
  const asked = question("other.service.consul");
  for (const at of [
    { to: "127.0.0.2", port: 53 },
    { to: "127.0.0.2", port: 8601, ...CONNECTED },
  ]) {
    expect((await park.askFromHost([asked], at)).map(hex)).toEqual([hex(asked)]);
  }
  await park.lab.serve(host, 8601, "echo same");
  const { stdout } = await host.runner.run(["socat", "-u", "TCP:127.0.0.1:8601", "STDOUT"]);
  expect(stdout).toBe("same\n");
  expect(await lines(["dig", "+tcp", "+short", "other.service.consul", `@${GATEWAY}`])).toEqual(["10.9.7.1"]);
  expect(await park.counts()).toEqual(before);
});

test("a dead agent is spoken for until its answers expire, and then nobody answers", async () => {
  await park.change([endpoint({ name: "last", service: "last", address: "10.9.8.1" })]);
  const at = { ...LOOPBACK, ...CONNECTED };
  await park.teachHost(question("last.service.consul"), at);
  await park.killAgent();
  const ask = async (how: Partial<HostQuestion>): Promise<readonly string[]> =>
    (await park.askFromHost(times(3, "last.service.consul"), { waitMs: 200, ...how })).map(shown);
  expect([...(await ask(at)), ...(await ask({}))]).toEqual(always(6, "NOERROR 10.9.8.1"));
  park.expireIn(0);
  expect([...(await ask(at)), ...(await ask({}))]).toEqual(always(6, "silent"));
  park.expireIn(3_600_000);
  expect(await ask({})).toEqual(always(3, "NOERROR 10.9.8.1"));
});

test("where rules let in only what belongs to a connection, the agent finds out and answers the host itself", async () => {
  await nft(`table inet strict {
    chain input {
      type filter hook input priority 0; policy drop
      ct state established accept
      meta l4proto { icmp, ipv6-icmp, tcp } accept
      udp dport { 53, 8600 } accept
    }
  }`);
  await park.startAgent();
  await park.change([endpoint({ name: "strict", service: "strict", address: "10.9.9.1" })]);
  await park.teach("one", question("strict.service.consul"));
  expect(await byKernel("strict.service.consul", "NOERROR 10.9.9.1")).toBe(0);
  expect(await byKernel("strict.service.consul", "NOERROR 10.9.9.1", { ...LOOPBACK, ...CONNECTED })).toBe(0);
  await nft("delete table inet strict");
  await park.teachHost(question("strict.service.consul"));
  expect(await byKernel("strict.service.consul", "NOERROR 10.9.9.1")).toBe(SOME);
}, 60_000);

test("an agent that starts anew keeps the one program, another release replaces it, and it goes when the host leaves", async () => {
  const { loopback } = await park.look();
  expect(loopback).toHaveLength(1);
  const restarted = async (): Promise<readonly number[]> => {
    await park.killAgent();
    await park.startAgent();
    await park.teachHost(question("gone.service.consul"));
    return (await park.look()).loopback;
  };
  expect(await restarted()).toEqual(loopback);
  park.renewObject();
  const next = await restarted();
  expect(next).toHaveLength(1);
  expect(next).not.toEqual(loopback);
  expect(await park.leave()).toMatchObject({ loopback: [] });
  expect((await park.askFromHost([question("gone.service.consul")], { waitMs: 200 })).map(shown)).toEqual(["silent"]);
}, 60_000);
