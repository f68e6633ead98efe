import { expect, test } from "bun:test";
import { spellHeaders } from "./spell-headers.ts";

test("spellHeaders() writes names as Go does, and changes no value", () => {
  const headers = {
    "x-consul-index": "12",
    "x-consul-knownleader": "true",
    "content-type": "text/plain",
    allow: "get",
    "X-ALREADY-loud": "x-y",
    "": "nothing",
  };
  const spelled = {
    "X-Consul-Index": "12",
    "X-Consul-Knownleader": "true",
    "Content-Type": "text/plain",
    Allow: "get",
    "X-Already-Loud": "x-y",
    "": "nothing",
  };
  expect(spellHeaders(headers)).toEqual(spelled);
  expect(spellHeaders(spelled)).toEqual(spelled);
});

test("spellHeaders() spells names that it sees for the first time after a great many others, too", () => {
  for (let at = 0; at < 2000; at += 1) expect(spellHeaders({ [`x-a${at}`]: "v" })).toEqual({ [`X-A${at}`]: "v" });
});
