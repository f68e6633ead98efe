import { expect, test } from "bun:test";
import { chooseFounder } from "./choose-founder.ts";

const [A, B, C] = ["https://127.0.0.1:8301", "https://127.0.0.2:8301", "https://127.0.0.10:8301"] as const;

test("chooseFounder() lets one of several servers begin", () => {
  const table = [
    [{ self: B, join: [], bootstrap: false, expect: 0 }, "begin"],
    [{ self: B, join: [A], bootstrap: true, expect: 0 }, "begin"],
    [{ self: B, join: [A], bootstrap: false, expect: 0 }, "join"],
    // Told to join itself alone.
    [{ self: A, join: [A], bootstrap: false, expect: 3 }, "begin"],
    // The lowest address is told nothing, or the first one is a higher one.
    [{ self: A, join: [B], bootstrap: false, expect: 3 }, "join"],
    [{ self: B, join: [], bootstrap: false, expect: 3 }, "begin"],
    // All of them know all.
    [{ self: A, join: [A, B, C], bootstrap: false, expect: 3 }, "begin-if-alone"],
    [{ self: B, join: [A, B, C], bootstrap: false, expect: 3 }, "join"],
    [{ self: C, join: [A, B, C], bootstrap: false, expect: 3 }, "join"],
    // Each knows the others.
    [{ self: A, join: [C, B], bootstrap: false, expect: 3 }, "begin-if-alone"],
    [{ self: B, join: [A, C], bootstrap: false, expect: 3 }, "join"],
    [{ self: B, join: [C, B], bootstrap: false, expect: 2 }, "begin-if-alone"],
    [{ self: C, join: [B, C], bootstrap: false, expect: 2 }, "join"],
  ] as const;
  for (const [input, choice] of table) expect(`${input.self} ${chooseFounder(input)}`).toBe(`${input.self} ${choice}`);
});
