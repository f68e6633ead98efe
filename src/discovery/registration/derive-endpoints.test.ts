import { expect, test } from "bun:test";
import fc from "fast-check";
import type { AppSpec, HealthCheck, PortSpec } from "../../model/app.ts";
import { DEFAULT_CHECK_TIMING } from "../../model/app.ts";
import { type Container, LABEL_INSTANCE } from "../../model/container.ts";
import type { HostId, InstanceId } from "../../model/ids.ts";
import { formatVersion, parseAppId } from "../../model/ids.ts";
import type { Assignment, InstanceGoal, InstanceHealth, InstanceStatus } from "../../model/instance.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { type RegistrationContext, deriveEndpoints } from "./derive-endpoints.ts";
import { containerOf } from "../../model/container.fixture.ts";
import { sampleSpec } from "../../scheduling/sample-cluster.ts";

const CONTEXT: RegistrationContext = {
  hostName: "h1",
  hostAddress: parseIpv4("192.168.0.1"),
  assignments: new Map(),
  reports: new Map(),
  engineNetworkName: "apollo",
  otherNetworks: [],
};
const ADDRESS = parseIpv4("10.2.1.7");

function container(over: Partial<Container> = {}): Container {
  return containerOf({
    image: "registry:5000/team/web:1.2",
    addresses: { apollo: ADDRESS },
    exposedPorts: [{ port: 8080, protocol: "tcp" }],
    ...over,
  });
}

/** One line an endpoint: id, service, address and port, tags, meta, health. */
function derive(containers: readonly Container[], context: Partial<RegistrationContext> = {}): readonly string[] {
  return deriveEndpoints(containers, { ...CONTEXT, ...context }).endpoints.map(
    ({ id, service, address, port, protocol, tags, meta, health }) =>
      [`${id} = ${service} ${address}:${port}/${protocol}`, tags.join("|"), JSON.stringify(meta), health].join(" "),
  );
}

const TWO_PORTS = [
  { port: 8081, protocol: "tcp" },
  { port: 8080, protocol: "tcp" },
] as const;
const ONE = "10.2.1.7:8080/tcp";

const RULES: readonly (readonly [rule: string, over: Partial<Container>, lines: readonly string[]])[] = [
  ["nothing of SERVICE_ is not registered", {}, []],
  ["other variables do not count", { env: { SERVICES: "x", MY_SERVICE_NAME: "y" } }, []],
  ["name from env", { env: { SERVICE_NAME: "api" } }, [`h1:box:8080 = api ${ONE}  {} passing`]],
  ["name from a label", { labels: { SERVICE_NAME: "api" } }, [`h1:box:8080 = api ${ONE}  {} passing`]],
  [
    "label wins over env",
    { env: { SERVICE_NAME: "env" }, labels: { SERVICE_NAME: "label" } },
    [`h1:box:8080 = label ${ONE}  {} passing`],
  ],
  [
    "the port's env wins over the general label",
    { env: { SERVICE_8080_NAME: "env" }, labels: { SERVICE_NAME: "label" } },
    [`h1:box:8080 = env ${ONE}  {} passing`],
  ],
  ["names are folded", { env: { SERVICE_NAME: "Api" } }, [`h1:box:8080 = api ${ONE}  {} passing`]],
  ["image name without SERVICE_NAME", { env: { SERVICE_TAGS: "a" } }, [`h1:box:8080 = web ${ONE} a {} passing`]],
  [
    "image name of a digest",
    { image: "web@sha256:00", env: { SERVICE_TAGS: "a" } },
    [`h1:box:8080 = web ${ONE} a {} passing`],
  ],
  [
    "tags: commas, escaped commas, empty parts, blanks, doubles",
    { env: { SERVICE_NAME: "api", SERVICE_TAGS: "v1, blue,,a\\,b,v1" } },
    [`h1:box:8080 = api ${ONE} v1|blue|a,b {} passing`],
  ],
  [
    "tags of the port replace the general ones",
    { env: { SERVICE_NAME: "api", SERVICE_TAGS: "all", SERVICE_8080_TAGS: "one" } },
    [`h1:box:8080 = api ${ONE} one {} passing`],
  ],
  ["ignore", { env: { SERVICE_NAME: "api", SERVICE_IGNORE: "true" } }, []],
  ["ignore means any text", { env: { SERVICE_NAME: "api", SERVICE_IGNORE: "false" } }, []],
  [
    "empty ignore is none",
    { env: { SERVICE_NAME: "api", SERVICE_IGNORE: "" } },
    [`h1:box:8080 = api ${ONE}  {} passing`],
  ],
  [
    "two ports get their numbers",
    { env: { SERVICE_NAME: "api" }, exposedPorts: TWO_PORTS },
    [`h1:box:8080 = api-8080 ${ONE}  {} passing`, "h1:box:8081 = api-8081 10.2.1.7:8081/tcp  {} passing"],
  ],
  [
    "a name for one port is taken as it is",
    { env: { SERVICE_NAME: "api", SERVICE_8081_NAME: "admin" }, exposedPorts: TWO_PORTS },
    [`h1:box:8080 = api-8080 ${ONE}  {} passing`, "h1:box:8081 = admin 10.2.1.7:8081/tcp  {} passing"],
  ],
  [
    "an ignored port still counts for the names of the others",
    { env: { SERVICE_NAME: "api", SERVICE_8081_IGNORE: "1" }, exposedPorts: TWO_PORTS },
    [`h1:box:8080 = api-8080 ${ONE}  {} passing`],
  ],
  [
    "udp has a tag and an id of its own",
    {
      env: { SERVICE_NAME: "dns", SERVICE_TAGS: "a" },
      exposedPorts: [
        { port: 53, protocol: "udp" },
        { port: 53, protocol: "tcp" },
      ],
    },
    ["h1:box:53 = dns-53 10.2.1.7:53/tcp a {} passing", "h1:box:53:udp = dns-53 10.2.1.7:53/udp a|udp {} passing"],
  ],
  [
    "all else is metadata, the port's over the general",
    { env: { SERVICE_NAME: "api", SERVICE_REGION: "eu", SERVICE_Weight: "1", SERVICE_8080_REGION: "us" } },
    [`h1:box:8080 = api ${ONE}  {"region":"us","weight":"1"} passing`],
  ],
  [
    "metadata of another port is not this one's",
    { env: { SERVICE_NAME: "api", SERVICE_9999_REGION: "eu" } },
    [`h1:box:8080 = api ${ONE}  {} passing`],
  ],
  ["id", { env: { SERVICE_NAME: "api", SERVICE_ID: "my-id" } }, [`h1:my-id = api ${ONE}  {} passing`]],
  ["no ports, nothing to register", { env: { SERVICE_NAME: "api" }, exposedPorts: [] }, []],
  ["not on our network", { env: { SERVICE_NAME: "api" }, addresses: { bridge: ADDRESS } }, []],
  [
    "on the host's network",
    { env: { SERVICE_NAME: "api" }, addresses: { host: parseIpv4("0.0.0.0") } },
    ["h1:box:8080 = api 192.168.0.1:8080/tcp  {} passing"],
  ],
  ["not running", { env: { SERVICE_NAME: "api" }, state: "exited" }, []],
  ["paused", { env: { SERVICE_NAME: "api" }, state: "paused" }, []],
];

test("deriveEndpoints() keeps registrator's rules", () => {
  for (const [rule, over, lines] of RULES) expect([rule, derive([container(over)])]).toEqual([rule, [...lines]]);
});

test("deriveEndpoints() takes the default network only when it lies on our bridge", () => {
  const box = container({ env: { SERVICE_NAME: "api" }, addresses: { bridge: ADDRESS } });
  expect(derive([box], { otherNetworks: ["bridge"] })).toEqual([`h1:box:8080 = api ${ONE}  {} passing`]);
  expect(derive([box])).toEqual([]);
});

test("deriveEndpoints() reports names and ids that cannot be, and goes on", () => {
  const { endpoints, conditions } = deriveEndpoints(
    [
      container({ name: "a", env: { SERVICE_NAME: "no good" } }),
      container({ name: "b", env: { SERVICE_NAME: "api", SERVICE_ID: "same" } }),
      container({ name: "c", env: { SERVICE_NAME: "api", SERVICE_ID: "same" } }),
    ],
    CONTEXT,
  );
  expect(endpoints.map(({ container: name }) => name)).toEqual(["b"]);
  expect(conditions.map(({ code, text }) => [code, text.includes('"a"') || text.includes('"c"')])).toEqual([
    ["service-name-invalid", true],
    ["service-id-taken", true],
  ]);
});

const PORT: PortSpec = {
  containerPort: 8080,
  hostPort: null,
  servicePort: 10_000,
  protocol: "tcp",
  name: null,
  labels: {},
};
const CHECK: HealthCheck = { ...DEFAULT_CHECK_TIMING, kind: "tcp", portIndex: 0, port: null };
const ID = "shop_web.instance-1" as InstanceId;

function spec(over: Partial<AppSpec> = {}): AppSpec {
  return sampleSpec("/shop/web", { image: "web:1", ports: [PORT], stopGraceMs: 3000, ...over });
}

function assigned(over: Partial<AppSpec> = {}, goal: InstanceGoal = "running"): ReadonlyMap<InstanceId, Assignment> {
  const app = spec(over);
  const version = formatVersion(0);
  const instance = { id: ID, appId: app.id, version, hostId: "x" as HostId, createdAtMs: 0, goal };
  return new Map([[ID, { instance, spec: app }]]);
}

function reported(health: InstanceHealth, over: { containerId?: string; condemned?: boolean } = {}) {
  const status: InstanceStatus = {
    phase: "running",
    containerId: "c0ffee",
    address: ADDRESS,
    startedAtMs: 1,
    health,
    checks: [],
    condemned: false,
    ...over,
  };
  return new Map([[ID, status]]);
}

const INSTANCE = container({ labels: { [LABEL_INSTANCE]: ID }, exposedPorts: TWO_PORTS });
const line = (health: string, service = "shop-web"): string => `h1:box:8080 = ${service} ${ONE}  {} ${health}`;

const INSTANCES: readonly (readonly [rule: string, context: Partial<RegistrationContext>, lines: readonly string[]])[] =
  [
    [
      "no checks: passing once it runs, ports of the app, its default name",
      { assignments: assigned() },
      [line("passing")],
    ],
    ["no assignment: it is on its way out", {}, []],
    ["draining", { assignments: assigned({}, "draining") }, []],
    ["stopped", { assignments: assigned({}, "stopped") }, []],
    ["checks without a report", { assignments: assigned({ healthChecks: [CHECK] }) }, [line("critical")]],
    [
      "checks without a result",
      { assignments: assigned({ healthChecks: [CHECK] }), reports: reported("unknown") },
      [line("critical")],
    ],
    ["healthy", { assignments: assigned({ healthChecks: [CHECK] }), reports: reported("healthy") }, [line("passing")]],
    [
      "unhealthy",
      { assignments: assigned({ healthChecks: [CHECK] }), reports: reported("unhealthy") },
      [line("critical")],
    ],
    [
      "condemned",
      { assignments: assigned({ healthChecks: [CHECK] }), reports: reported("healthy", { condemned: true }) },
      [line("critical")],
    ],
    [
      "healthy was the container before",
      { assignments: assigned({ healthChecks: [CHECK] }), reports: reported("healthy", { containerId: "old" }) },
      [line("critical")],
    ],
    ["stopping", { assignments: assigned(), reports: new Map([[ID, { phase: "stopping", sinceMs: 0 } as const]]) }, []],
    ["SERVICE_NAME of the app", { assignments: assigned({ env: { SERVICE_NAME: "api" } }) }, [line("passing", "api")]],
    ["label of the app", { assignments: assigned({ labels: { SERVICE_NAME: "lab" } }) }, [line("passing", "lab")]],
    ["ignored app", { assignments: assigned({ env: { SERVICE_IGNORE: "1" } }) }, []],
    ["app without ports", { assignments: assigned({ ports: [] }) }, []],
    [
      "app on the host's network",
      { assignments: assigned({ network: "host", ports: [{ ...PORT, hostPort: 31_000 }] }) },
      ["h1:box:31000 = shop-web 192.168.0.1:31000/tcp  {} passing"],
    ],
  ];

test("deriveEndpoints() registers instances by their app, goal and health", () => {
  for (const [rule, context, lines] of INSTANCES)
    expect([rule, derive([INSTANCE], context)]).toEqual([rule, [...lines]]);
  // The engine started it again by itself: nobody has said yet how this run is, or whether it may stay.
  const again = { ...INSTANCE, startedAtMs: 2 };
  expect(derive([again], { assignments: assigned(), reports: reported("none") })).toEqual([]);
  const [made] = deriveEndpoints([INSTANCE], { ...CONTEXT, assignments: assigned() }).endpoints;
  expect([made?.instanceId, made?.appId]).toEqual([ID, parseAppId("/shop/web")]);
});

test("deriveEndpoints() takes any environment and gives unique ids, in an order of its own", () => {
  const key = fc.oneof(
    fc.constantFrom("SERVICE_NAME", "SERVICE_8080_NAME", "SERVICE_ID", "SERVICE_", "SERVICE_0_"),
    fc.string(),
  );
  const box = fc.record({
    name: fc.constantFrom("a", "b", "c"),
    env: fc.dictionary(key, fc.string()),
    labels: fc.dictionary(key, fc.string()),
  });
  fc.assert(
    fc.property(fc.uniqueArray(box, { selector: ({ name }) => name }), (boxes) => {
      const containers = boxes.map((over) => container({ ...over, exposedPorts: TWO_PORTS }));
      const { endpoints, conditions } = deriveEndpoints(containers, CONTEXT);
      expect(new Set(endpoints.map(({ id }) => id)).size).toBe(endpoints.length);
      expect(endpoints.length + conditions.length).toBeLessThanOrEqual(containers.length * 2);
      expect(deriveEndpoints(containers.toReversed(), CONTEXT).endpoints).toEqual(endpoints);
    }),
  );
});

test("tags of the host come behind those of the service, once each", () => {
  const tagged = container({ env: { SERVICE_NAME: "api", SERVICE_TAGS: "v1,rack-7" } });
  const lines = derive([tagged], { tags: ["rack-7", "eu"] });
  expect(lines).toEqual([`h1:box:8080 = api ${ONE} v1|rack-7|eu {} passing`]);
});
