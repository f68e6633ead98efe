import { expect, test } from "bun:test";
import { systemClock } from "../platform/clock/system-clock.ts";
import { engineContract } from "./engine.contract.ts";
import { FAKE_IMAGE, FakeEngine } from "./fake-engine.ts";
import { VirtualClock } from "./virtual-clock.ts";

engineContract("fake", () => {
  const image = { ...FAKE_IMAGE, env: { FROM_IMAGE: "yes" }, exposedPorts: [{ port: 8080, protocol: "tcp" }] } as const;
  const engine = new FakeEngine({ clock: systemClock, images: { busybox: image }, registry: { "team/app:1": image } });
  return Promise.resolve({
    engine,
    image: "busybox",
    missingImage: "team/none:1",
    pullableImage: "team/app:1",
    restartEngine: async () => {
      await engine.shutDownGracefully();
      engine.comeUp();
    },
    crash: (id, exitCode) => Promise.resolve(engine.crash(id, exitCode)),
    stop: () => Promise.resolve(),
  });
});

test("FakeEngine takes its time from the clock and prints its whole state", async () => {
  const clock = new VirtualClock();
  const engine = new FakeEngine({ clock, images: { web: FAKE_IMAGE }, latencyMs: { list: 500 } });
  let listed = false;
  void engine.listContainers().then(() => (listed = true));
  await clock.advance(499);
  expect(listed).toBe(false);
  await clock.advance(1);
  expect(listed).toBe(true);
  expect(String(engine)).toBe("");
});
