import { expect, test } from "bun:test";
import { takeToken } from "./take-token.ts";

test("takeToken() splits the token off and leaves the page", () => {
  expect(takeToken("#token=abc.d-e_f")).toEqual({ token: "abc.d-e_f", rest: "#/" });
  expect(takeToken("#/apps&token=a%2Fb")).toEqual({ token: "a/b", rest: "#/apps" });
  expect(takeToken("#token=x&/hosts")).toEqual({ token: "x", rest: "#/hosts" });
  expect(takeToken("#token=%E0%A4%A")).toEqual({ token: "%E0%A4%A", rest: "#/" });
  for (const hash of ["", "#/", "#/apps?q=token"]) expect(takeToken(hash)).toBeNull();
});
