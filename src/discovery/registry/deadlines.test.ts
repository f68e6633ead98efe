import { expect, test } from "bun:test";
import fc from "fast-check";
import { VirtualClock } from "../../sim/virtual-clock.ts";
import { Deadlines } from "./deadlines.ts";

test("property: each deadline runs once, not early and at most a 64th late; cancelled ones never", async () => {
  const entry = fc.record({ startMs: fc.nat(5000), ms: fc.nat(20_000), cancelled: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 30 }), async (entries) => {
      const clock = new VirtualClock();
      const deadlines = new Deadlines(clock);
      const ranMs = entries.map((): number[] => []);
      for (const [at, { startMs, ms, cancelled }] of entries.entries()) {
        clock.after(startMs, () => {
          const deadline = deadlines.after(ms, () => ranMs[at]?.push(clock.monotonicMs()));
          if (cancelled) clock.after(ms / 2, () => deadline.cancel());
        });
      }
      await clock.advance(60_000);
      for (const [at, { startMs, ms, cancelled }] of entries.entries()) {
        const ran = ranMs[at] ?? [];
        if (cancelled && ms > 1) expect(ran).toEqual([]);
        if (cancelled) continue;
        expect(ran.length).toBe(1);
        expect(ran[0]).toBeGreaterThanOrEqual(startMs + ms);
        expect(ran[0]).toBeLessThanOrEqual(startMs + ms + ms / 64 + 1);
      }
      expect(deadlines.size).toBe(0);
      expect(clock.pending).toBe(0);
    }),
    { numRuns: 60 },
  );
});
