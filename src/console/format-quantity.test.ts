import { expect, test } from "bun:test";
import {
  formatAppName,
  formatCount,
  formatCpus,
  formatDuration,
  formatInstanceName,
  formatMemory,
} from "./format-quantity.ts";

test("quantities are short and carry their unit", () => {
  expect([0.3, 4, 1.256, 0.1 + 0.2].map(formatCpus)).toEqual(["0.3", "4", "1.26", "0.3"]);
  expect([0, 512, 1024, 1536, 2 * 1024 * 1024].map(formatMemory)).toEqual([
    "0 MiB",
    "512 MiB",
    "1 GiB",
    "1.5 GiB",
    "2 TiB",
  ]);
  const minute = 60_000;
  expect([-5, 999, 59_999, minute, 90 * minute, 47 * 60 * minute, 72 * 60 * minute].map(formatDuration)).toEqual([
    "0 s",
    "0 s",
    "59 s",
    "1 min",
    "1 h",
    "47 h",
    "3 d",
  ]);
  expect([0, 1, 4000].map((count) => formatCount(count, "host"))).toEqual(["0 hosts", "1 host", "4,000 hosts"]);
});

test("names leave out what is the same everywhere", () => {
  expect(formatAppName("/shop/web")).toBe("shop/web");
  expect(formatInstanceName("shop_web.instance-1a2b3c4d-0000-4000-8000-000000000000")).toBe("1a2b3c4d");
  expect(formatInstanceName("plain")).toBe("plain");
});
