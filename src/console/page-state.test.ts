import { expect, test } from "bun:test";
import fc from "fast-check";
import { FIRST_PAGE, formatPageState, pageHref, parsePageState, type Page, type PageState } from "./page-state.ts";

test("an address leads back to the same state", () => {
  const word = fc.string({ minLength: 1, maxLength: 12 });
  const segment = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?$/);
  const page: fc.Arbitrary<Page> = fc.oneof(
    fc.constantFrom<Page>({ name: "overview" }, { name: "apps" }, { name: "services" }, { name: "hosts" }),
    fc
      .array(segment, { minLength: 1, maxLength: 3 })
      .map((parts): Page => ({ name: "app", id: `/${parts.join("/")}` })),
  );
  const state: fc.Arbitrary<PageState> = fc.record({
    page,
    query: fc.oneof(fc.constant(""), word),
    selection: fc.option(fc.record({ kind: fc.constantFrom("host" as const, "instance" as const), key: word })),
    asTable: fc.boolean(),
  });
  fc.assert(fc.property(state, (value) => expect(parsePageState(formatPageState(value))).toEqual(value)));
});

test("parsePageState() leads anything else to the overview", () => {
  for (const hash of ["", "#", "#/", "#nowhere", "#/nowhere/at/all", "#/?select=ship:x"]) {
    expect(parsePageState(hash)).toEqual(FIRST_PAGE);
  }
  expect(parsePageState("#/apps/%E0%A4%A").page).toEqual({ name: "app", id: "/%E0%A4%A" });
  fc.assert(fc.property(fc.string(), (hash) => typeof parsePageState(hash).page.name === "string"));
});

test("pageHref() is readable", () => {
  expect(pageHref({ name: "app", id: "/shop/web" })).toBe("#/apps/shop/web");
  expect(pageHref({ name: "overview" })).toBe("#/");
});
