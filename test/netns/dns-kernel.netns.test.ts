import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import packet from "dns-packet";
import { CONTAINERS, DnsKernelLab, GATEWAY, endpoint, question } from "./dns-kernel-lab.ts";

const park = new DnsKernelLab();
/** As many as two draws of the agent's: what comes in a row from the kernel. */
const SOME = 20;

/** "NOERROR 10.9.0.1 10.9.0.2", addresses in the order of the answer. */
function shown(answer: Uint8Array | null | undefined): string {
  if (answer === null || answer === undefined) return "silent";
  const decoded = packet.decode(Buffer.from(answer));
  const data = (decoded.answers ?? []).map((each) => (each.type === "A" ? each.data : each.type));
  return [(decoded as unknown as { rcode: string }).rcode, ...data].join(" ");
}

const times = (count: number, name: string, type: "A" | "SRV" | "AAAA" = "A"): readonly Uint8Array[] =>
  Array.from({ length: count }, () => question(name, type));

beforeAll(async () => {
  await park.up();
  await park.startAgent();
}, 60_000);

beforeEach(() => park.guard([]));

afterAll(async () => {
  await park.close();
  expect(await park.lab.leftovers()).toEqual([]);
}, 60_000);

test("a question that comes again is answered by the kernel, with the bytes of the agent's answer and its own id", async () => {
  await park.change([endpoint({ name: "web", service: "web", address: "10.9.0.1" })]);
  const asked = question("web.service.consul");
  const [fromAgent] = await park.ask("one", [asked]);
  await park.teach("one", asked);
  const before = await park.counts();
  const again = question("web.service.consul");
  // From another container as well: the answer is the host's, not the client's.
  const [one] = await park.ask("one", [again]);
  const [two] = await park.ask("two", [again]);
  const expected = Buffer.from(fromAgent ?? "");
  expected.set(again.subarray(0, 2));
  expect(Buffer.from(one ?? "").toString("hex")).toBe(expected.toString("hex"));
  expect(Buffer.from(two ?? "").toString("hex")).toBe(expected.toString("hex"));
  expect((await park.counts()).answered - before.answered).toBe(2);
});

test("names that are not there, other types, targets with their addresses: whatever the agent answers out of the zone", async () => {
  await park.change([
    endpoint({ name: "db-1", service: "db", address: "10.9.1.1" }),
    endpoint({ name: "db-2", service: "db", address: "10.9.1.2" }),
  ]);
  for (const [name, type] of [
    ["nobody.service.consul", "A"],
    ["db.service.consul", "AAAA"],
    ["_db._tcp.service.consul", "SRV"],
  ] as const) {
    const asked = question(name, type);
    const [fromAgent] = await park.ask("one", [asked]);
    await park.teach("one", asked);
    const before = await park.counts();
    const [again] = await park.ask("one", [asked]);
    expect((await park.counts()).answered - before.answered).toBe(1);
    const [mine, theirs] = [fromAgent, again].map((bytes) => packet.decode(Buffer.from(bytes ?? "")));
    expect((again ?? []).length).toBe((fromAgent ?? []).length);
    expect(theirs?.authorities).toEqual(mine?.authorities);
    expect(new Set(theirs?.answers?.map((each) => JSON.stringify(each)))).toEqual(
      new Set(mine?.answers?.map((each) => JSON.stringify(each))),
    );
  }
});

test("without checksum offload, the client's kernel still takes the answer", async () => {
  await park.change([endpoint({ name: "sum", service: "sum", address: "10.9.0.4" })]);
  const { runner } = park.space("two");
  await park.teach("two", question("sum.service.consul"));
  await runner.run(["ethtool", "-K", "eth0", "tx", "off"]);
  try {
    const before = await park.counts();
    const answers = await park.ask("two", times(5, "sum.service.consul"));
    expect(answers.map(shown)).toEqual(Array.from({ length: 5 }, () => "NOERROR 10.9.0.4"));
    expect((await park.counts()).answered - before.answered).toBe(5);
  } finally {
    await runner.run(["ethtool", "-K", "eth0", "tx", "on"]);
  }
});

test("a change is in every answer from the moment that the agent says so", async () => {
  await park.change([endpoint({ name: "moving", service: "moving", address: "10.9.2.0" })]);
  for (let version = 1; version <= SOME; version++) {
    await park.teach("one", question("moving.service.consul"));
    await park.change([endpoint({ name: "moving", service: "moving", address: `10.9.2.${version}` })]);
    const answers = await park.ask("one", times(4, "moving.service.consul"));
    expect(answers.map(shown)).toEqual(Array.from({ length: 4 }, () => `NOERROR 10.9.2.${version}`));
  }
  await park.teach("one", question("moving.service.consul"));
  await park.change([], ["far:moving:8080"]);
  expect((await park.ask("one", [question("moving.service.consul")])).map(shown)).toEqual(["NXDOMAIN"]);
}, 60_000);

test("what comes first follows the weights, though the kernel answers", async () => {
  const weighted = (passing: number): { weights: { passing: number; warning: number } } => ({
    weights: { passing, warning: 1 },
  });
  await park.change([
    endpoint({ name: "heavy", service: "shares", address: "10.9.3.1", ...weighted(3) }),
    endpoint({ name: "light", service: "shares", address: "10.9.3.2", ...weighted(1) }),
  ]);
  const before = await park.counts();
  const answers = (await park.ask("one", times(8000, "shares.service.consul"))).map(shown);
  const heavy = answers.filter((answer) => answer === "NOERROR 10.9.3.1 10.9.3.2").length;
  const light = answers.filter((answer) => answer === "NOERROR 10.9.3.2 10.9.3.1").length;
  expect(heavy + light).toBe(8000);
  // Some 250 draws, each given 32 times: a standard deviation of 0.03.
  expect(heavy / 8000).toBeGreaterThan(0.6);
  expect(heavy / 8000).toBeLessThan(0.9);
  const { answered } = await park.counts();
  expect(answered - before.answered).toBeGreaterThan(7000);
}, 60_000);

test("a container that a policy speaks of, and a source that is not the port's, get nothing from the kernel", async () => {
  await park.change([endpoint({ name: "kept", service: "kept", address: "10.9.4.1" })]);
  await park.teach("one", question("kept.service.consul"));
  await park.guard(["two"]);
  const wait = async (): Promise<number> => {
    const { answered } = await park.counts();
    await park.ask("two", [question("kept.service.consul")]);
    return (await park.counts()).answered - answered;
  };
  // The rules take effect with the next pass.
  let seen = await wait();
  for (let turn = 0; turn < 200 && seen > 0; turn++) seen = await wait();
  const before = await park.counts();
  expect((await park.ask("two", times(3, "kept.service.consul"))).map(shown)).toEqual(
    Array.from({ length: 3 }, () => "NOERROR 10.9.4.1"),
  );
  expect(await park.counts()).toEqual(before);

  const { runner } = park.space("one");
  await runner.run(["ip", "address", "add", "10.2.1.77/32", "dev", "eth0"]);
  await runner.run(["ip", "route", "add", `${GATEWAY}/32`, "dev", "eth0", "src", "10.2.1.77"]);
  try {
    expect((await park.ask("one", [question("kept.service.consul")], 300)).map(shown)).toEqual(["silent"]);
    expect(await park.counts()).toEqual(before);
  } finally {
    await runner.run(["ip", "address", "del", "10.2.1.77/32", "dev", "eth0"]);
    await runner.run(["ip", "route", "del", `${GATEWAY}/32`], { okCodes: [0, 2] });
  }
  expect((await park.ask("one", [question("kept.service.consul")])).map(shown)).toEqual(["NOERROR 10.9.4.1"]);
});

test("what is no plain question goes to the agent, and neither it nor the kernel minds", async () => {
  await park.change([endpoint({ name: "plain", service: "plain", address: "10.9.5.1" })]);
  const good = question("plain.service.consul");
  await park.teach("one", good);
  const before = await park.counts();
  const long = question(`${"x".repeat(60)}.${"y".repeat(60)}.service.consul`);
  const upper = question("PLAIN.service.consul");
  const trailing = Uint8Array.of(...good, 0);
  const shorter = good.slice(0, -1);
  const answers = await park.ask("one", [long, long, long, upper, upper, upper, trailing, trailing, trailing, shorter]);
  expect(answers.slice(0, 3).map(shown)).toEqual(["NXDOMAIN", "NXDOMAIN", "NXDOMAIN"]);
  expect(answers.slice(3, 6).map(shown)).toEqual(["NOERROR 10.9.5.1", "NOERROR 10.9.5.1", "NOERROR 10.9.5.1"]);
  expect(answers.slice(6).every((answer) => answer !== null)).toBe(true);
  const nothing = await park.ask(
    "one",
    [new Uint8Array(), Uint8Array.of(1), Uint8Array.of(1, 2), new Uint8Array(2000)],
    200,
  );
  expect(nothing.slice(0, 3)).toEqual([null, null, null]);
  expect((await park.counts()).answered).toBe(before.answered);

  // Datagrams whose headers lie about their length, by hand. All bytes are below 128, so that text carries them.
  const asked = Uint8Array.of(1, 1, ...good.slice(2));
  const send = async (udpBytes: number): Promise<void> => {
    const header = [0x0f, 0x70, 0, 53, udpBytes >> 8, udpBytes & 0xff, 0, 0];
    const stdin = String.fromCharCode(...header, ...asked);
    await park.space("one").runner.run(["socat", "-u", "STDIN", `IP4-SENDTO:${GATEWAY}:17`], { stdin });
  };
  for (const udpBytes of [0, 7, 8, good.length + 7, good.length + 9, 0x7f7f]) await send(udpBytes);
  expect((await park.counts()).answered).toBe(before.answered);
  await send(good.length + 8);
  expect((await park.counts()).answered).toBe(before.answered + 1);
});

test("an agent that dies is spoken for until its answers expire, and the next one takes over with its own", async () => {
  await park.change([
    endpoint({ name: "last", service: "last", address: "10.9.6.1" }),
    endpoint({ name: "pair-1", service: "pair", address: "10.9.6.2" }),
    endpoint({ name: "pair-2", service: "pair", address: "10.9.6.3" }),
  ]);
  await park.teach("one", question("last.service.consul"));
  await park.teach("one", question("pair.service.consul"));
  await park.killAgent();
  // One of some two hundred would have been for the agent.
  const pairs = (await park.ask("one", times(300, "pair.service.consul"), 200)).map(shown);
  expect(pairs.filter((answer) => answer === "silent").length).toBeLessThanOrEqual(2);
  expect((await park.ask("one", times(SOME, "last.service.consul"))).map(shown)).toEqual(
    Array.from({ length: SOME }, () => "NOERROR 10.9.6.1"),
  );
  expect((await park.ask("one", [question("unasked.service.consul")], 200)).map(shown)).toEqual(["silent"]);
  park.expireIn(0);
  expect((await park.ask("one", [question("last.service.consul")], 200)).map(shown)).toEqual(["silent"]);
  park.expireIn(3_600_000);
  expect((await park.ask("one", [question("last.service.consul")])).map(shown)).toEqual(["NOERROR 10.9.6.1"]);

  // It knows nothing of the service: with its first zone the old answer is gone, long before it would expire.
  await park.startAgent();
  expect((await park.ask("one", times(3, "last.service.consul"))).map(shown)).toEqual([
    "NXDOMAIN",
    "NXDOMAIN",
    "NXDOMAIN",
  ]);
}, 60_000);

test("an agent that hangs is not spoken for any longer than one that is dead", async () => {
  await park.change([endpoint({ name: "hang", service: "hang", address: "10.9.7.1" })]);
  await park.teach("one", question("hang.service.consul"));
  process.kill(park.agentPid(), "SIGSTOP");
  try {
    expect((await park.ask("one", [question("hang.service.consul")])).map(shown)).toEqual(["NOERROR 10.9.7.1"]);
    park.expireIn(0);
    expect((await park.ask("one", [question("hang.service.consul")], 200)).map(shown)).toEqual(["silent"]);
  } finally {
    process.kill(park.agentPid(), "SIGCONT");
  }
  // Asked while it hung, and answered now.
  expect((await park.ask("two", [question("hang.service.consul")])).map(shown)).toEqual(["NOERROR 10.9.7.1"]);
  expect(CONTAINERS.two).toBe("10.2.1.6");
});
