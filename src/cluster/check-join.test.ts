import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import { parseIpv4 } from "../model/ip.ts";
import { type JoinExamination, JOIN_SKEW_MS_MAX, checkJoin } from "./check-join.ts";

const NOW = 1_800_000_000_000;
const MEMBER = { id: "id-a", name: "a", address: "192.0.2.1" } as Host;

function refusal(
  change: Partial<JoinExamination>,
  options: { readonly address?: string; readonly name?: string; readonly phase?: "up" | "down" } = {},
): string | null {
  const { address = "192.0.2.9", name = "b", phase = "up" } = options;
  const examination = { clockMs: NOW, findings: [], force: false, ...change };
  try {
    checkJoin({ nowMs: NOW, phaseOf: () => phase }, { name, address: parseIpv4(address), examination }, [MEMBER]);
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return `${error.code}: ${error.message}; ${error.hint}`;
  }
}

const missing = {
  check: "programs",
  state: "error",
  text: "Programs are missing: nft",
  hint: "apt-get install nftables",
} as const;

test("checkJoin() lets a machine in whose clock, address and findings are well", () => {
  expect(refusal({})).toBeNull();
  expect(refusal({ clockMs: NOW + JOIN_SKEW_MS_MAX })).toBeNull();
  expect(refusal({ findings: [{ ...missing, state: "warning" }] })).toBeNull();
  expect(() =>
    checkJoin({ nowMs: NOW, phaseOf: () => "up" }, { name: "old", address: MEMBER.address }, [MEMBER]),
  ).not.toThrow();
});

test("checkJoin() refuses a clock that is off, either way, with the cure", () => {
  expect(refusal({ clockMs: NOW + 90_000 })).toBe(
    'conflict: Cannot join host "b": its clock is 90 s ahead of the server\'s; Set it, and keep it set: timedatectl set-ntp true; or join with --force',
  );
  expect(refusal({ clockMs: NOW - 90_000 })).toContain("90 s behind the server's");
});

test("checkJoin() refuses the address of another member that lives, and not that of one that is down or the same", () => {
  expect(refusal({}, { address: "192.0.2.1" })).toContain('host "a" has its address 192.0.2.1');
  expect(refusal({}, { address: "192.0.2.1", phase: "down" })).toBeNull();
  expect(refusal({}, { address: "192.0.2.1", name: "a" })).toBeNull();
});

test("checkJoin() refuses what the machine itself found to be an error; --force lets all of it in", () => {
  expect(refusal({ findings: [missing] })).toContain("Programs are missing: nft; apt-get install nftables");
  expect(refusal({ findings: [missing], clockMs: 0, force: true }, { address: "192.0.2.1" })).toBeNull();
});
