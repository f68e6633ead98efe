import { expect, test } from "bun:test";
import { defaultServiceName, parseAppId, parseServiceName } from "./ids.ts";

test("defaultServiceName() is a name, also where the cut at 63 characters leaves a dash at the end", () => {
  const cases: readonly [string, string][] = [
    ["/web", "web"],
    ["/shop/web.v2", "shop-web-v2"],
    [`/${"a".repeat(62)}/web`, "a".repeat(62)],
    [`/${"a".repeat(70)}`, "a".repeat(63)],
  ];
  for (const [app, name] of cases) {
    expect(defaultServiceName(parseAppId(app)) as string).toBe(name);
    expect(parseServiceName(name) as string).toBe(name);
  }
});
