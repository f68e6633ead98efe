import { expect, test } from "bun:test";
import type { NamedQuery } from "../../model/consul.ts";
import { lookupOf } from "./query-lookup.ts";

function query(
  change: Partial<Omit<NamedQuery, "service">> & { readonly service?: Partial<NamedQuery["service"]> },
): NamedQuery {
  return {
    id: "11111111-2222-4333-8444-555555555555",
    name: "q",
    template: { type: "", regexp: "", removeEmptyTags: false },
    dnsTtl: "",
    ...change,
    service: {
      service: "Web",
      onlyPassing: false,
      near: "",
      tags: [],
      nodeMeta: {},
      serviceMeta: {},
      ignoreCheckIds: [],
      nearestN: 0,
      datacenters: [],
      ...change.service,
    },
  };
}

test("a query is found by name and by id, whatever their case", () => {
  const queries = [query({ name: "My-Query", dnsTtl: "90s", service: { tags: ["a", "!b"], onlyPassing: true } })];
  const wanted = {
    service: "web",
    tags: ["a"],
    tagsNot: ["b"],
    onlyPassing: true,
    nodeMeta: {},
    serviceMeta: {},
    ttlSeconds: 90,
  };
  expect(lookupOf(queries, "my-query")).toEqual(wanted);
  expect(lookupOf(queries, "11111111-2222-4333-8444-555555555555")).toEqual(wanted);
  expect(lookupOf(queries, "other")).toBeNull();
});

test("a template is filled by the name, the longest prefix first, and not found by its id", () => {
  const template = { type: "name_prefix_match", regexp: "", removeEmptyTags: true };
  const queries = [
    query({ id: "all", name: "", template, service: { service: "${name.full}" } }),
    query({ id: "geo", name: "geo-", template, service: { service: "${name.suffix}", tags: ["${name.prefix}", ""] } }),
  ];
  expect(lookupOf(queries, "geo-DB")).toMatchObject({ service: "db", tags: ["geo-"], ttlSeconds: null });
  expect(lookupOf(queries, "anything")).toMatchObject({ service: "anything" });
  expect(lookupOf(queries, "geo")).toBeNull();
  expect(lookupOf(queries.slice(1), "geo-")).toMatchObject({ service: "" });
  expect(lookupOf([query({ id: "t", name: "t-", template: { ...template, type: "other" } })], "t-x")).toBeNull();
});
