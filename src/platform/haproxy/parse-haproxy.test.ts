import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseInfo, parseMap, parseStatistics, renderMap } from "./parse-haproxy.ts";

const STATISTICS = `# pxname,svname,qcur,qmax,scur,smax,status,idle_conn_cur,addr,
svc_a,s1,1,0,2,0,no check,3,10.2.1.2:8080,
svc_a,s2,0,0,0,0,MAINT,0,10.2.1.3:8080,
svc_a,s3,0,0,0,0,DRAIN,0,10.2.1.4:80,
svc_a,s4,0,0,0,0,DOWN 1/2,0,10.2.1.5:80,
svc_a,s5,0,0,0,0,no check,0,[2001:db8::7]:80,
svc_a,BACKEND,0,0,2,0,UP,0,,
svc_b,BACKEND,0,0,0,0,UP,0,,
`;

test("parseStatistics() finds backends and servers by column name", () => {
  const { backends, servers } = parseStatistics(STATISTICS);
  expect(backends).toEqual(["svc_a", "svc_b"]);
  expect(servers.map((server) => `${server.name} ${server.address} ${server.port} ${server.state}`)).toEqual([
    "s1 10.2.1.2 8080 ready",
    "s2 10.2.1.3 8080 maint",
    "s3 10.2.1.4 80 drain",
    "s4 10.2.1.5 80 ready",
    "s5 2001:db8::7 80 ready",
  ]);
  expect(servers[0]).toMatchObject({ sessions: 3, idle: 3 });
});

test("parseInfo() reads pid and structure, and knows a configuration that is not ours", () => {
  expect(parseInfo("Name: HAProxy\nPid: 12\ndescription: apollo-structure-00ff\n")).toEqual({
    pid: 12,
    structure: "00ff",
  });
  expect(parseInfo("Pid: 12\ndescription: my own\n")).toEqual({ pid: 12, structure: null });
  expect(parseInfo("Unknown command\n")).toBeNull();
});

test("parseMap() reads the file and the socket's form", () => {
  expect(parseMap("# names\nb.test svc_b\na.test  svc_a\n\n", "file")).toEqual({
    "a.test": "svc_a",
    "b.test": "svc_b",
  });
  expect(parseMap("0x55c8e6920220 a.test svc_a\n\n", "socket")).toEqual({ "a.test": "svc_a" });
});

test("parseMap() reads what renderMap() wrote", () => {
  const name = fc.stringMatching(/^[a-z][a-z.]{0,20}$/);
  fc.assert(
    fc.property(fc.dictionary(name, name, { noNullPrototype: true }), (map) => {
      expect(parseMap(renderMap(map), "file")).toEqual(map);
    }),
  );
});

test("parsers give a value for any text", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      parseInfo(text);
      parseStatistics(text);
      parseMap(text, "file");
      parseMap(text, "socket");
    }),
  );
});
