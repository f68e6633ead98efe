import { expect, test } from "bun:test";
import fc from "fast-check";
import { addressesOf, digArgv, parseDig, srvTargetsOf } from "./dig.ts";

const SRV = `
; <<>> DiG 9.18 <<>> web.service.consul. SRV
;; global options: +cmd
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4711
;; flags: qr aa rd ra; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 3

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; QUESTION SECTION:
;web.service.consul.		IN	SRV

;; ANSWER SECTION:
web.service.consul.	0	IN	SRV	1 1 8080 0a020102.addr.dc1.consul.
web.service.consul.	0	IN	SRV	1 1 8080 0a020202.addr.dc1.consul.

;; ADDITIONAL SECTION:
0a020102.addr.dc1.consul. 0	IN	A	10.2.1.2
0a020202.addr.dc1.consul. 0	IN	A	10.2.2.2

;; Query time: 3 msec
;; SERVER: 10.77.1.1#53(10.77.1.1) (UDP)
`;

test("parseDig() reads sections, status and time", () => {
  const answer = parseDig(SRV);
  expect(answer.status).toBe("NOERROR");
  expect(answer.queryMs).toBe(3);
  expect(srvTargetsOf(answer)).toEqual([
    { port: 8080, target: "0a020102.addr.dc1.consul." },
    { port: 8080, target: "0a020202.addr.dc1.consul." },
  ]);
  expect(answer.additional.map(({ data }) => data)).toEqual(["10.2.1.2", "10.2.2.2"]);
  expect(addressesOf(answer)).toEqual([]);
});

test("parseDig() keeps the order of addresses and sees a refusal", () => {
  const text =
    ";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 1\n;; ANSWER SECTION:\na. 0 IN A 10.2.2.2\na. 0 IN A 10.2.1.2\n";
  expect(addressesOf(parseDig(text))).toEqual(["10.2.2.2", "10.2.1.2"]);
  expect(parseDig(text).status).toBe("NXDOMAIN");
  expect(parseDig(";; communications error: timed out\n;; no servers could be reached\n").status).toBeNull();
});

test("parseDig() is total", () => {
  fc.assert(fc.property(fc.string(), (text) => parseDig(text).answers.length >= 0));
});

test("digArgv() asks for the whole name", () => {
  expect(digArgv("a.b", "A", ["+tcp"]).slice(-3)).toEqual(["+tcp", "a.b.", "A"]);
});
