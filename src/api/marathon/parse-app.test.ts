import { expect, test } from "bun:test";
import fc from "fast-check";
import type { AppSpec } from "../../model/app.ts";
import { AppError } from "../../model/error.ts";
import { parseAppId } from "../../model/ids.ts";
import { describeIssue, parseJsonBody } from "../read-json.ts";
import { nearestName } from "../nearest-name.ts";
import { mergeApp } from "./merge-app.ts";
import { parseApp } from "./parse-app.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { renderDefinition } from "./render-definition.ts";

const IMAGE = { docker: { image: "registry:5000/a/b:1.0" } };
const minimal = { id: "a", container: IMAGE };

/** "kind path: message" lines of what parseApp() throws. */
function faults(value: unknown): readonly string[] {
  try {
    parseApp(value);
    return [];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.fields.length === 0) return [`${String(error.details["status"])} ${error.message}`];
    return error.fields.map(({ path, message }) => `${String(error.details["kind"])} ${path}: ${message}`);
  }
}

/** The 2015 article's definition, every field of it. */
const ARTICLE = {
  id: "nodejs-rest-api.v1",
  container: {
    type: "DOCKER",
    docker: {
      image: "capgemini/apollo-example-nodejs-rest:1.0.0",
      network: "BRIDGE",
      portMappings: [{ containerPort: 8080, hostPort: 0, protocol: "tcp" }],
    },
  },
  env: { SERVICE_NAME: "nodejs-rest-api", SERVICE_TAGS: "v1" },
  healthChecks: [
    {
      protocol: "HTTP",
      path: "/",
      portIndex: 0,
      gracePeriodSeconds: 3,
      intervalSeconds: 10,
      timeoutSeconds: 10,
      maxConsecutiveFailures: 3,
    },
  ],
  cpus: 0.3,
  mem: 64,
  instances: 2,
  upgradeStrategy: { minimumHealthCapacity: 1, maximumOverCapacity: 0.1 },
};

test("parseApp() reads the 2015 article's definition", () => {
  expect(parseApp(ARTICLE)).toEqual({
    id: parseAppId("/nodejs-rest-api.v1"),
    instances: 2,
    cpus: 0.3,
    memoryMiB: 64,
    diskMiB: 0,
    image: "capgemini/apollo-example-nodejs-rest:1.0.0",
    forcePull: false,
    privileged: false,
    argv: null,
    shell: false,
    user: null,
    tty: false,
    network: "apollo",
    ports: [{ containerPort: 8080, hostPort: null, servicePort: 0, protocol: "tcp", name: null, labels: {} }],
    volumes: [],
    env: { SERVICE_NAME: "nodejs-rest-api", SERVICE_TAGS: "v1" },
    labels: {},
    healthChecks: [
      {
        kind: "http",
        path: "/",
        portIndex: 0,
        port: null,
        ignoreHttp1xx: false,
        gracePeriodMs: 3000,
        intervalMs: 10_000,
        timeoutMs: 10_000,
        maxConsecutiveFailures: 3,
      },
    ],
    upgrade: { minimumHealthCapacity: 1, maximumOverCapacity: 0.1 },
    backoff: { initialMs: 1000, factor: 1.15, maxMs: 300_000 },
    constraints: [],
    dependencies: [],
    killSelection: "YOUNGEST_FIRST",
    stopGraceMs: 3000,
  });
});

test("parseApp() fills in Marathon's defaults, and takes null for what is not there", () => {
  const spec = parseApp(minimal);
  expect(spec).toMatchObject({
    id: "/a",
    instances: 1,
    cpus: 1,
    memoryMiB: 128,
    diskMiB: 0,
    network: "apollo",
    ports: [],
  });
  const fields = [
    "cmd",
    "args",
    "ports",
    "uris",
    "fetch",
    "dependencies",
    "env",
    "labels",
    "healthChecks",
    "constraints",
  ];
  const more = ["upgradeStrategy", "networks", "ipAddress", "secrets", "residency", "gpus", "user", "portDefinitions"];
  expect(parseApp({ ...minimal, ...Object.fromEntries([...fields, ...more].map((name) => [name, null])) })).toEqual(
    spec,
  );
});

test("parseApp() takes floats for whole numbers, as marathonctl sends them", () => {
  const text = '{"id":"/a","instances":3.000000,"cpus":0.500000,"mem":64.0,"container":{"docker":{"image":"x"}}}';
  expect(parseApp(parseJsonBody(new TextEncoder().encode(text)))).toMatchObject({
    instances: 3,
    cpus: 0.5,
    memoryMiB: 64,
  });
});

const port = (containerPort: number, more: object = {}) => ({
  containerPort,
  hostPort: null,
  servicePort: 0,
  protocol: "tcp",
  name: null,
  labels: {},
  ...more,
});

test.each<[string, object, Partial<AppSpec>]>([
  ["networks container", { networks: [{ mode: "container", name: "apollo" }] }, { network: "apollo" }],
  [
    "networks with a fixed address",
    { networks: [{ mode: "container", name: "apollo", addresses: ["10.2.0.10"] }] },
    { network: "apollo", addresses: [parseIpv4("10.2.0.10")] },
  ],
  ["networks bridge", { networks: [{ mode: "container/bridge" }] }, { network: "apollo" }],
  ["networks host", { networks: [{ mode: "host" }] }, { network: "host", ports: [] }],
  ["ipAddress", { ipAddress: { groups: [], labels: {}, discovery: {} } }, { network: "apollo" }],
  ["docker.network HOST", { container: { docker: { image: "x", network: "HOST" } } }, { network: "host" }],
  ["docker.network USER", { container: { docker: { image: "x", network: "USER" } } }, { network: "apollo" }],
  [
    "ports alone are host ports",
    { ports: [9000] },
    { network: "host", ports: [{ ...port(9000), hostPort: 9000, servicePort: 9000 }] as AppSpec["ports"] },
  ],
  [
    "portDefinitions",
    { portDefinitions: [{ port: 9000, protocol: "udp", name: "dns", labels: { a: "b" } }] },
    {
      network: "host",
      ports: [
        { containerPort: 9000, hostPort: 9000, servicePort: 9000, protocol: "udp", name: "dns", labels: { a: "b" } },
      ],
    },
  ],
  [
    "ports beside mappings are service ports",
    {
      ports: [10_001],
      container: { docker: { ...IMAGE.docker, network: "BRIDGE", portMappings: [{ containerPort: 80 }] } },
    },
    { network: "apollo", ports: [port(80, { servicePort: 10_001 })] as AppSpec["ports"] },
  ],
  [
    "a published port, and container port 0 that means the same",
    {
      container: {
        ...IMAGE,
        portMappings: [
          { containerPort: 80, hostPort: 8080 },
          { containerPort: 0, hostPort: 443 },
        ],
      },
    },
    { ports: [port(80, { hostPort: 8080 }), port(443, { hostPort: 443 })] as AppSpec["ports"] },
  ],
])("networks and ports: %s", (_, fields, expected) => {
  expect(parseApp({ ...minimal, ...fields })).toMatchObject(expected);
});

test.each<[string, object, Partial<AppSpec>]>([
  ["cmd", { cmd: "run a | b" }, { argv: ["/bin/sh", "-c", "run a | b"], shell: true }],
  ["args", { args: ["a", "b"] }, { argv: ["a", "b"], shell: false }],
  ["empty cmd and args", { cmd: "", args: [] }, { argv: null, shell: false }],
  [
    "single instance",
    { labels: { MARATHON_SINGLE_INSTANCE_APP: "true" } },
    { upgrade: { minimumHealthCapacity: 0, maximumOverCapacity: 0 } },
  ],
  [
    "relative dependencies",
    { id: "/shop/web", dependencies: ["db", "../mail", "/x"] },
    { dependencies: ["/shop/db", "/mail", "/x"].map(parseAppId) },
  ],
  [
    "constraints",
    {
      constraints: [
        ["@hostname", "unique"],
        ["rack", "MAX_PER", 2],
        ["@zone", "like", "a|b"],
      ],
    },
    {
      constraints: [
        { field: "hostname", operator: "UNIQUE", value: null },
        { field: "rack", operator: "MAX_PER", value: "2" },
        { field: "zone", operator: "LIKE", value: "a|b" },
      ],
    },
  ],
  [
    "volumes",
    { container: { ...IMAGE, volumes: [{ containerPath: "/d", hostPath: "/h", mode: "RO" }] } },
    { volumes: [{ containerPath: "/d", hostPath: "/h", readOnly: true }] },
  ],
  [
    "read-only fields of our answers",
    {
      version: "2015-01-01T00:00:00.000Z",
      versionInfo: {},
      tasks: [],
      tasksRunning: 3,
      deployments: [{ id: "x" }],
      taskStats: {},
    },
    { id: parseAppId("/a") },
  ],
  [
    "harmless fields",
    {
      uris: [],
      fetch: [],
      gpus: 0,
      role: "*",
      acceptedResourceRoles: ["*"],
      executor: "",
      unreachableStrategy: { inactiveAfterSeconds: 300 },
    },
    { id: parseAppId("/a") },
  ],
])("parseApp() reads %s", (_, fields, expected) => {
  expect(parseApp({ ...minimal, ...fields })).toMatchObject(expected);
});

test.each<[string, object, Partial<AppSpec["healthChecks"][number]>]>([
  [
    "defaults",
    {},
    { kind: "http", path: "/", portIndex: 0, port: null, gracePeriodMs: 300_000, intervalMs: 60_000 } as object,
  ],
  ["MESOS_HTTPS", { protocol: "MESOS_HTTPS", path: "x", delaySeconds: 15 }, { kind: "https", path: "/x" } as object],
  ["TCP on a port", { protocol: "TCP", port: 9000 }, { kind: "tcp", port: 9000, portIndex: null } as object],
  [
    "COMMAND",
    { protocol: "COMMAND", command: { value: "true" } },
    { kind: "command", argv: ["/bin/sh", "-c", "true"] } as object,
  ],
])("health checks: %s", (_, check, expected) => {
  const container = { ...IMAGE, portMappings: [{ containerPort: 80 }] };
  expect(parseApp({ ...minimal, container, healthChecks: [check] }).healthChecks[0]).toMatchObject(expected);
});

const INDEX = "Health check port indices must address an element of the ports array or container port mappings.";
const mapped = (...portMappings: readonly object[]) => ({ ...minimal, container: { ...IMAGE, portMappings } });

test.each<[string, unknown, readonly string[]]>([
  ["no object", [], ["400 Please specify data in JSON format"]],
  [
    "nothing",
    {},
    [
      "form /id: error.path.missing",
      "form /: AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.",
      "form /container/docker/image: is missing: every app runs from an image",
    ],
  ],
  ["missing image", { id: "a", container: { docker: {} } }, ["form /container/docker/image: error.path.missing"]],
  [
    "cmd without image",
    { id: "a", cmd: "x" },
    ["sense /container/docker/image: is missing: every app runs from an image"],
  ],
  [
    "container without docker",
    { id: "a", container: {} },
    ["sense /container/docker/image: is missing: every app runs from an image"],
  ],
  [
    "bad image",
    { id: "a", container: { docker: { image: "a b" } } },
    ["sense /container/docker/image: must be an image such as registry.example.com:5000/name:tag"],
  ],
  [
    "wrong types",
    { ...minimal, id: 1, instances: "2", cpus: "x", env: { A: 1 }, args: "a" },
    [
      "form /instances: error.expected.jsnumber",
      "form /cpus: error.expected.jsnumber",
      "form /args: error.expected.jsarray",
      "form /env/A: error.expected.jsstring",
    ].toSpliced(0, 0, "form /id: error.expected.jsstring"),
  ],
  ["fractions", { ...minimal, instances: 1.5 }, ["form /instances: error.expected.int"]],
  [
    "negative numbers",
    { ...minimal, instances: -1, mem: -1 },
    ["sense /instances: got -1, expected 0 or more", "sense /mem: got -1, expected 0 or more"],
  ],
  ["bytes for MiB", { ...minimal, mem: 1e12 }, ["sense /mem: got 1000000000000, expected MiB, 67108864 at most"]],
  [
    "bad id",
    { ...minimal, id: "/A_b" },
    [
      "sense /id: must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])\\.)*([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])$'",
    ],
  ],
  [
    "unknown field",
    { ...minimal, instnaces: 2, foo: 1 },
    ['sense /instnaces: is not a known field; did you mean "instances"?', "sense /foo: is not a known field"],
  ],
  [
    "misplaced field",
    { ...minimal, image: "x" },
    ['sense /image: is not a known field; did you mean "container.docker.image"?'],
  ],
  [
    "unknown field inside",
    mapped({ containerPort: 80, hostport: 0 }),
    ['sense /container/portMappings(0)/hostport: is not a known field; did you mean "hostPort"?'],
  ],
  [
    "port out of range",
    mapped({ containerPort: 70_000 }),
    [
      "sense /container/portMappings(0)/containerPort: got 70000, expected between 0 and 65535",
      "sense /container/portMappings(0)/containerPort: must be the port the program listens on, 1 to 65535: it has an address of its own, so any is free",
    ],
  ],
  [
    "duplicate ports",
    mapped({ containerPort: 80 }, { containerPort: 80 }),
    ["sense /container/portMappings: Ports must be unique."],
  ],
  [
    "duplicate host ports",
    mapped({ containerPort: 80, hostPort: 1 }, { containerPort: 81, hostPort: 1 }),
    ["sense /container/portMappings: Ports must be unique."],
  ],
  [
    "duplicate port names",
    mapped({ containerPort: 80, name: "a" }, { containerPort: 81, name: "a" }),
    ["sense /container/portMappings: Port names must be unique."],
  ],
  [
    "both protocols",
    mapped({ containerPort: 80, protocol: "udp,tcp" }),
    [
      'sense /container/portMappings(0)/protocol: must be "tcp" or "udp": write one mapping for each',
      'form /container/portMappings(0)/protocol: "udp,tcp" is not one of tcp, udp',
    ].slice(0, 1),
  ],
  [
    "upgrade shares",
    { ...minimal, upgradeStrategy: { minimumHealthCapacity: 1.5, maximumOverCapacity: -0.1 } },
    [
      "sense /upgradeStrategy/minimumHealthCapacity: is greater than 1",
      "sense /upgradeStrategy/maximumOverCapacity: is less than 0",
    ],
  ],
  ["check of a missing port", { ...minimal, healthChecks: [{}] }, [`sense /healthChecks(0): ${INDEX}`]],
  [
    "check with both targets",
    { ...mapped({ containerPort: 80 }), healthChecks: [{ port: 1, portIndex: 0 }] },
    ["sense /healthChecks(0): HealthCheck must specify either a port or a portIndex"],
  ],
  [
    "command check without command",
    { ...minimal, healthChecks: [{ protocol: "COMMAND" }] },
    ["sense /healthChecks(0)/command: must not be empty for protocol COMMAND"],
  ],
  [
    "unknown protocol",
    { ...mapped({ containerPort: 80 }), healthChecks: [{ protocol: "GRPC" }] },
    [
      'form /healthChecks(0)/protocol: "GRPC" is not one of HTTP, HTTPS, TCP, COMMAND, MESOS_HTTP, MESOS_HTTPS, MESOS_TCP',
    ],
  ],
  [
    "bad constraints",
    {
      ...minimal,
      constraints: [
        ["a"],
        ["a", "NEAR"],
        ["a", "UNIQUE", "x"],
        ["a", "MAX_PER"],
        ["a", "GROUP_BY", "x"],
        ["a", "LIKE", "("],
        "x",
      ],
    },
    [
      "form /constraints(6): error.expected.jsarray",
      "form /constraints(0): Each constraint must have either 2 or 3 fields",
      "form /constraints(1): operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS",
      "form /constraints(2): UNIQUE does not accept a value",
      "form /constraints(3): MAX_PER requires an integer value",
      "form /constraints(4): GROUP BY must define an integer value or else no value at all",
      'form /constraints(5): "(" is not a valid regular expression',
    ],
  ],
  [
    "what we cannot honour",
    {
      ...minimal,
      gpus: 1,
      fetch: [{ uri: "x" }],
      secrets: { a: { source: "b" } },
      residency: { taskLostBehavior: "WAIT_FOREVER" },
      unreachableStrategy: "disabled",
    },
    [
      "sense /gpus: GPUs are not supported",
      "sense /fetch: fetching files is not supported: put them into the image",
      "sense /secrets: secrets are not supported: use env",
      "sense /residency: resident apps are not supported",
      'sense /unreachableStrategy: "disabled" is not supported: instances of a lost host are always replaced',
    ],
  ],
  [
    "persistent volume",
    { ...minimal, container: { ...IMAGE, volumes: [{ containerPath: "data", mode: "RW", persistent: { size: 1 } }] } },
    ["sense /container/volumes(0)/persistent: persistent volumes are not supported: use a hostPath with a constraint"],
  ],
  [
    "fixed addresses that are wrong",
    { ...minimal, instances: 3, networks: [{ mode: "container", addresses: ["10.2.0.300", "10.2.0.5", "10.2.0.5"] }] },
    [
      'sense /networks(0)/addresses: "10.2.0.300" is no IPv4 address',
      "sense /networks(0)/addresses: an address may be named once only",
    ],
  ],
  [
    "fewer fixed addresses than instances",
    { ...minimal, instances: 2, networks: [{ mode: "container", addresses: ["10.2.0.5"] }] },
    ["sense /networks(0)/addresses: 2 instances need as many addresses, there are 1"],
  ],
  [
    "fixed address on the host's network",
    { ...minimal, networks: [{ mode: "host", addresses: ["10.2.0.5"] }] },
    ["sense /networks(0)/addresses: on the host's network there is no address to choose"],
  ],
  [
    "foreign network",
    { ...minimal, networks: [{ mode: "container", name: "DC_OS" }] },
    ['sense /networks(0)/name: "DC_OS" is no name of a network: a-z, 0-9 and -'],
  ],
  [
    "host network with mappings",
    { ...minimal, networks: [{ mode: "host" }], container: { ...IMAGE, portMappings: [{ containerPort: 80 }] } },
    ["sense /container/portMappings: portMappings are not allowed with host-networking"],
  ],
  [
    "definitions on a container network",
    { ...minimal, networks: [{ mode: "container" }], portDefinitions: [{ port: 80 }] },
    ["sense /portDefinitions: portDefinitions are only allowed with host-networking"],
  ],
  [
    "two ways to say the network",
    { ...minimal, networks: [{ mode: "host" }], container: { docker: { image: "x", network: "HOST" } } },
    ["sense /: must not specify both container.docker.network and networks"],
  ],
  [
    "ports that differ",
    { ...mapped({ containerPort: 80, servicePort: 1 }), ports: [2] },
    ["sense /ports: cannot specify ports that differ from the service ports of the port mappings"],
  ],
  [
    "single instance app",
    { ...minimal, instances: 2, labels: { MARATHON_SINGLE_INSTANCE_APP: "true" } },
    ["sense /instances: Single instance app may only have one instance"],
  ],
  [
    "cmd and args",
    { ...minimal, cmd: "a", args: ["b"] },
    ["sense /: AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."],
  ],
  ["secret in env", { ...minimal, env: { A: { secret: "s" } } }, ["form /env/A: error.expected.jsstring"]],
  [
    "dependency on itself",
    { ...minimal, dependencies: ["a"] },
    ["sense /dependencies(0): Dependency graph has cyclic dependencies."],
  ],
])("parseApp() refuses %s", (_, value, expected) => {
  expect(faults(value)).toEqual(expected);
});

test("an error says in words what is first wrong, and how much more", () => {
  expect(() => parseApp({ id: "a", container: { docker: {} }, cpus: "x" })).toThrow(
    "Cannot use app definition: /cpus must be a number (and 1 more)",
  );
  expect(describeIssue("error.path.missing")).toBe("is missing");
});

test("nearestName() finds slips and nothing far", () => {
  const known = ["instances", "cpus", "mem", "env", "id"];
  expect(["instnaces", "Instances", "cpu", "memm", "zzzzzz", "x"].map((name) => nearestName(name, known))).toEqual([
    "instances",
    "instances",
    "cpus",
    "mem",
    null,
    null,
  ]);
});

test.each([
  ["", "Please specify data in JSON format"],
  ["  ", "Please specify data in JSON format"],
  ["{", "Invalid JSON"],
  ['{"a":}', "Invalid JSON"],
])("parseJsonBody(%p) is 400 %s", (text, message) => {
  expect(() => parseJsonBody(new TextEncoder().encode(text))).toThrow(message);
});

test("parseJsonBody() refuses what is not UTF-8", () => {
  expect(() => parseJsonBody(new Uint8Array([0x22, 0xff, 0x22]))).toThrow("Invalid JSON");
});

// Any JSON under the names that apps have: a value or an AppError, and a value that survives rendering.
const names = ["id", "cmd", "args", "container", "docker", "image", "ports", "portMappings", "containerPort", "env"];
const moreNames = [
  "healthChecks",
  "protocol",
  "constraints",
  "networks",
  "mode",
  "labels",
  "upgradeStrategy",
  "__proto__",
];
const someJson = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom("a", "HTTP", "container", "host", "/x/y", null, true, 0, 1, 80, 0.5, -1, 1e300),
    fc.string(),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...names, ...moreNames), tie("value"), { maxKeys: 5 }),
  ),
})).value;

test("parseApp() gives a value or an AppError for any JSON", () => {
  fc.assert(
    fc.property(someJson, fc.boolean(), (value, complete) => {
      const input =
        complete && typeof value === "object" && value !== null ? { ...minimal, ...(value as object) } : value;
      expect(() => faults(input)).not.toThrow();
    }),
    { numRuns: 1000 },
  );
});

const text = fc.string({ minLength: 1, maxLength: 8 }).filter((one) => !one.includes("\0") && !one.includes("="));
const seconds = fc.integer({ min: 1, max: 100_000 });
const timing = {
  gracePeriodSeconds: seconds,
  intervalSeconds: seconds,
  timeoutSeconds: seconds,
  maxConsecutiveFailures: seconds,
};
const share = fc.double({ min: 0, max: 1, noNaN: true });
const goodApp = fc.record(
  {
    id: fc.constantFrom("a", "/a/b.c", "x/y/z"),
    cmd: text,
    instances: fc.nat(1000),
    cpus: fc.double({ min: 0, max: 64, noNaN: true }),
    mem: fc.nat(100_000),
    user: text,
    env: fc.dictionary(text, text),
    labels: fc.dictionary(text, text),
    container: fc.record(
      {
        docker: fc.record({ image: fc.constant("x:1"), forcePullImage: fc.boolean(), privileged: fc.boolean() }),
        portMappings: fc.uniqueArray(
          fc.record({ containerPort: fc.integer({ min: 1, max: 65_535 }), protocol: fc.constantFrom("tcp", "udp") }),
          { selector: (mapping) => mapping.containerPort, minLength: 1, maxLength: 4 },
        ),
        volumes: fc.array(
          fc.record({
            containerPath: fc.constant("/c"),
            hostPath: fc.constant("/h"),
            mode: fc.constantFrom("RO", "RW"),
          }),
        ),
      },
      { requiredKeys: ["docker", "portMappings"] },
    ),
    healthChecks: fc.array(
      fc.oneof(
        fc.record({ protocol: fc.constantFrom("HTTP", "HTTPS"), path: fc.constant("/p"), ...timing }),
        fc.record({ protocol: fc.constant("TCP"), port: fc.integer({ min: 1, max: 65_535 }), ...timing }),
        fc.record({ protocol: fc.constant("COMMAND"), command: fc.record({ value: text }), ...timing }),
      ),
      { maxLength: 3 },
    ),
    upgradeStrategy: fc.record({ minimumHealthCapacity: share, maximumOverCapacity: share }),
    backoffSeconds: seconds,
    backoffFactor: fc.double({ min: 1, max: 4, noNaN: true }),
    maxLaunchDelaySeconds: seconds,
    constraints: fc.array(fc.constantFrom(["hostname", "UNIQUE"], ["rack", "GROUP_BY", "3"], ["zone", "CLUSTER", "a"])),
    killSelection: fc.constantFrom("OLDEST_FIRST", "YOUNGEST_FIRST"),
    taskKillGracePeriodSeconds: seconds,
    tty: fc.boolean(),
  },
  { requiredKeys: ["id", "container"] },
);

test("parseApp(renderDefinition(spec)) is spec, and an empty update changes nothing", () => {
  fc.assert(
    fc.property(goodApp, (value) => {
      const spec = parseApp(value);
      expect(parseApp(JSON.parse(JSON.stringify(renderDefinition(spec))))).toEqual(spec);
      expect(parseApp(mergeApp(spec, {}))).toEqual(spec);
    }),
  );
});

test.each<[string, object, object, Partial<AppSpec>]>([
  ["a number", ARTICLE, { instances: 3 }, { instances: 3, cpus: 0.3 }],
  [
    "null is no change",
    ARTICLE,
    { instances: null, env: null },
    { instances: 2, env: { SERVICE_NAME: "nodejs-rest-api", SERVICE_TAGS: "v1" } },
  ],
  ["a map is replaced whole", ARTICLE, { env: { A: "1" } }, { env: { A: "1" } }],
  ["args drive out cmd", { ...minimal, cmd: "x" }, { args: ["y"] }, { argv: ["y"], shell: false }],
  ["cmd drives out args", { ...minimal, args: ["y"] }, { cmd: "x" }, { argv: ["/bin/sh", "-c", "x"], shell: true }],
  ["the 2015 definition over itself", ARTICLE, ARTICLE, { network: "apollo", instances: 2 }],
  [
    "to the host's network, the 2015 way",
    { ...minimal },
    { container: { docker: { image: "x", network: "HOST" } } },
    { network: "host", image: "x" },
  ],
  [
    "to the host's network",
    ARTICLE,
    { networks: [{ mode: "host" }], healthChecks: [] },
    { network: "host", ports: [] },
  ],
  [
    "from the host's network",
    { ...minimal, ports: [9000] },
    { networks: [{ mode: "container" }] },
    { network: "apollo", ports: [] },
  ],
  [
    "other host ports",
    { ...minimal, portDefinitions: [{ port: 1 }] },
    { ports: [2] },
    { network: "host", ports: [{ ...port(2), hostPort: 2, servicePort: 2 }] as AppSpec["ports"] },
  ],
])("mergeApp(): %s", (_, before, update, expected) => {
  expect(parseApp(mergeApp(parseApp(before), update as Record<string, unknown>))).toMatchObject(expected);
});

test("a definition with fixed addresses comes back as it went in, one without has no word of them", () => {
  const fixed = parseApp({ ...minimal, networks: [{ mode: "container", addresses: ["10.2.0.10"] }] });
  expect(parseApp(renderDefinition(fixed))).toEqual(fixed);
  expect(JSON.stringify(renderDefinition(parseApp(minimal)))).not.toContain("addresses");
  expect("addresses" in parseApp(minimal)).toBe(false);
});

test("mergeApp() keeps unknown fields, so that they are refused", () => {
  expect(faults(mergeApp(parseApp(ARTICLE), { instnaces: 1 }))).toHaveLength(1);
  expect(
    faults(mergeApp(parseApp(ARTICLE), JSON.parse('{"__proto__": {"a": 1}}') as Record<string, unknown>)),
  ).toHaveLength(1);
});
