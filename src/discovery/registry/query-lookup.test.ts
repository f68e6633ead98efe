import { expect, test } from "bun:test";
import type { NamedQuery } from "../../model/consul.ts";
import { indexQueries } from "./query-lookup.ts";

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
  expect(indexQueries(queries)("my-query")).toEqual(wanted);
  expect(indexQueries(queries)("11111111-2222-4333-8444-555555555555")).toEqual(wanted);
  expect(indexQueries(queries)("other")).toBeNull();
});

test("a template is filled by the name, the longest prefix first, and not found by its id", () => {
  const template = { type: "name_prefix_match", regexp: "", removeEmptyTags: true };
  const queries = [
    query({ id: "all", name: "", template, service: { service: "${name.full}" } }),
    query({ id: "geo", name: "geo-", template, service: { service: "${name.suffix}", tags: ["${name.prefix}", ""] } }),
  ];
  expect(indexQueries(queries)("geo-DB")).toMatchObject({ service: "db", tags: ["geo-"], ttlSeconds: null });
  expect(indexQueries(queries)("anything")).toMatchObject({ service: "anything" });
  expect(indexQueries(queries)("geo")).toBeNull();
  expect(indexQueries(queries.slice(1))("geo-")).toMatchObject({ service: "" });
  expect(indexQueries([query({ id: "t", name: "t-", template: { ...template, type: "other" } })])("t-x")).toBeNull();
});

test("a question looks at none of the queries that it does not mean", () => {
  let read = 0;
  const watched = (at: number): NamedQuery => {
    const one = query({ id: `id-${at}`, name: `q-${at}` });
    const { service } = one;
    return Object.defineProperty(one, "service", {
      enumerable: true,
      get: () => {
        read += 1;
        return service;
      },
    });
  };
  const find = indexQueries(Array.from({ length: 500 }, (_, at) => watched(at)));
  read = 0;
  expect([find("Q-499"), find("nothing")]).toMatchObject([{ service: "web" }, null]);
  expect(read).toBe(0);
});
