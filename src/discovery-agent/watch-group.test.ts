import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { GroupWatch, renderNoLeader } from "./watch-group.ts";

test("without a leader for six seconds the log says once who is missing, and that one leads again", async () => {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const note = (text: string): void => void lines.push(text);
  const log = { debug: () => undefined, info: note, warn: note, error: note };
  const servers = ["s1", "s2", "s3"].map((name, at) => ({
    name,
    address: `192.0.2.${at + 1}`,
    url: `https://${name}`,
  }));
  let heardMs = 0;
  const replica = {
    leader: () => (clock.monotonicMs() - heardMs < 2500 ? "192.0.2.2:8301" : null),
    contactMs: () => clock.monotonicMs() - heardMs,
    open: () =>
      Promise.resolve({
        get: () => Promise.resolve(null),
        list: () => Promise.resolve(servers.map((value) => ({ key: value.name, value, revision: 1 }))),
        follow: () => Promise.resolve(),
      }),
  };
  const down = new Set(["https://s2", "https://s3"]);
  const client = {
    fetchCa: (url: string) =>
      down.has(url) ? Promise.reject(new AppError("unavailable", "no")) : Promise.resolve({ pem: "", fingerprint: "" }),
  };
  const end = new AbortController();
  const watch = new GroupWatch({ replica, self: "s1", clock, log, client });
  const running = watch.run(end.signal);
  await clock.advance(5900);
  expect([lines, [...watch.missing()]]).toEqual([[], []]);
  await clock.advance(4000);
  const two = "No server leads: 1 of 3 servers answers, 2 are needed; missing: s2 at 192.0.2.2, s3 at 192.0.2.3";
  expect([lines, [...watch.missing()]]).toEqual([[two], ["s2", "s3"]]);
  down.delete("https://s2");
  await clock.advance(1500);
  expect(lines.at(-1)).toBe("No server leads: 2 of 3 servers answer, 2 are needed; missing: s3 at 192.0.2.3");
  heardMs = clock.monotonicMs();
  await clock.advance(1500);
  expect([lines.length, lines.at(-1), watch.missing().size]).toEqual([3, "A server leads again", 0]);
  end.abort();
  await running;
});

test("renderNoLeader() does not look for servers that are there", () => {
  expect(renderNoLeader(3, [])).toBe("No server leads, though all 3 answer: a leader is being chosen");
});
