import { expect, test } from "bun:test";
import { matchesSearch, parseSearch } from "./search-query.ts";

const ROW = {
  app: "/shop/web",
  host: "h1",
  address: "10.2.1.7:8080",
  health: "healthy",
  tag: ["v1", "blue"],
  service: null,
};

test("matchesSearch() takes words, fields and exclusions together", () => {
  const table: readonly (readonly [string, boolean])[] = [
    ["", true],
    ["  ", true],
    ["shop", true],
    ["SHOP h1", true],
    ["shop h2", false],
    ["host:h1", true],
    ["host:web", false],
    ["tag:blue", true],
    ["!tag:blue", false],
    ["!health:unhealthy shop", true],
    ["10.2.1.7:8080", true],
    ["nofield:x", false],
    ["!nofield:x", true],
    ["service:x", false],
  ];
  for (const [query, expected] of table)
    expect([query, matchesSearch(parseSearch(query), ROW)]).toEqual([query, expected]);
});
