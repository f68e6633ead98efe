import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import { formatPorts, formatSelector, parsePorts, parseSelector } from "./parse-policy-flags.ts";

test("parseSelector() reads fields that must all fit, and formatSelector() writes them", () => {
  const text = "app=shop/web,cidr=10.2.0.0/16,label.tier=front,label.a.b=c=d";
  const selector = { app: "shop/web", cidr: "10.2.0.0/16", labels: { tier: "front", "a.b": "c=d" } };
  expect(parseSelector(text)).toEqual(selector);
  expect(formatSelector(selector)).toBe(text);
});

test("parsePorts() reads a port or a range, TCP unless said", () => {
  const texts = ["80", "53/udp", "8000-8080/tcp"];
  expect(texts.map(parsePorts).map(formatPorts)).toEqual(["80/tcp", "53/udp", "8000-8080/tcp"]);
});

test("both refuse what they cannot read, with an AppError", () => {
  for (const text of ["", "web", "app=", "colour=red", "label.=x", "app=web,"])
    expect(() => parseSelector(text)).toThrow(AppError);
  for (const text of ["", "0", "70000", "9-8", "80/icmp", "80-"]) expect(() => parsePorts(text)).toThrow(AppError);
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of [parseSelector, parsePorts]) {
        try {
          parse(text);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }
    }),
  );
});
