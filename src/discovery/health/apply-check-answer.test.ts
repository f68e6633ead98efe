import { expect, test } from "bun:test";
import fc from "fast-check";
import type { CheckStatus } from "../../model/host-check.ts";
import { applyCheckAnswer, type CheckThresholds, untried } from "./apply-check-answer.ts";

const NONE: CheckThresholds = { successBeforePassing: 0, failuresBeforeWarning: 0, failuresBeforeCritical: 0 };
const LETTERS: Readonly<Record<string, CheckStatus>> = { p: "passing", w: "warning", c: "critical" };

/** What it says after each of the answers, a letter each. */
function say(answers: string, thresholds: Partial<CheckThresholds>, first: CheckStatus = "critical"): string {
  let count = untried(first);
  let text = "";
  for (const letter of answers) {
    count = applyCheckAnswer(count, LETTERS[letter] ?? "critical", { ...NONE, ...thresholds });
    text += count.status[0];
  }
  return text;
}

test("applyCheckAnswer() follows Consul's thresholds", () => {
  const table: readonly (readonly [string, string, Partial<CheckThresholds>])[] = [
    ["pcwp", "pcwp", {}],
    // The first answer counts at once.
    ["p", "p", { successBeforePassing: 3 }],
    ["c", "c", { failuresBeforeCritical: 3, failuresBeforeWarning: 3 }],
    ["cppp", "cccp", { successBeforePassing: 3 }],
    ["cppcppp", "ccccccp", { successBeforePassing: 3 }],
    ["pccc", "pppc", { failuresBeforeCritical: 3, failuresBeforeWarning: 3 }],
    ["pccpccc", "ppppppc", { failuresBeforeCritical: 3, failuresBeforeWarning: 3 }],
    ["pccc", "pwwc", { failuresBeforeCritical: 3, failuresBeforeWarning: 1 }],
    ["pccc", "ppwc", { failuresBeforeCritical: 3, failuresBeforeWarning: 2 }],
  ];
  for (const [answers, said, thresholds] of table) expect([answers, say(answers, thresholds)]).toEqual([answers, said]);
});

test("property: it is critical only after as many bad answers in a row as declared, or with the first", () => {
  const answers = fc.array(fc.constantFrom("p", "w", "c"), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(answers, fc.integer({ min: 1, max: 5 }), (letters, most) => {
      const said = Array.from(
        say(letters.join(""), { failuresBeforeCritical: most, failuresBeforeWarning: most }, "passing"),
      );
      for (const [at, letter] of said.entries()) {
        if (letter !== "c" || said[at - 1] === "c") continue;
        const row = letters.slice(Math.max(0, at - most + 1), at + 1);
        expect(at === 0 || (row.length === most && row.every((each) => each === "c"))).toBe(true);
      }
    }),
  );
});
