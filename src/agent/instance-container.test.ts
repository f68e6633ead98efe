import { expect, test } from "bun:test";
import { parseIpv4 } from "../model/ip.ts";
import type { InstanceId } from "../model/ids.ts";
import { assignmentOf } from "../sim/agent-fixtures.ts";
import { containerName, instanceContainer } from "./instance-container.ts";
import type { Placement } from "./instance-container.ts";
import { instanceEnv } from "./instance-env.ts";

const PLACEMENT: Placement = {
  hostName: "alpha",
  network: "apollo",
  address: parseIpv4("10.2.1.5"),
  gateway: parseIpv4("10.2.1.1"),
  dnsDomain: "consul",
};
const port = (containerPort: number, hostPort: number | null, name: string | null = null) =>
  ({ containerPort, hostPort, servicePort: 10_000, protocol: "tcp", name, labels: {} }) as const;

test("instanceEnv() gives what Marathon gives, under the app's own", () => {
  const assignment = assignmentOf("u1", {
    spec: {
      cpus: 0.5,
      memoryMiB: 256,
      labels: { "my.label-x": "1", OTHER: "two", ["k".repeat(500)]: "dropped", long: "v".repeat(600) },
      env: { HOST: "mine", SERVICE_NAME: "web" },
      ports: [port(8080, null, "http-api"), port(9090, 31_000)],
    },
  });
  expect(instanceEnv(assignment, "alpha")).toEqual({
    MESOS_TASK_ID: "web.instance-u1",
    MARATHON_APP_ID: "/web",
    MARATHON_APP_VERSION: "2026-01-01T00:00:00.000Z",
    MARATHON_APP_DOCKER_IMAGE: "web:1",
    MARATHON_APP_RESOURCE_CPUS: "0.5",
    MARATHON_APP_RESOURCE_MEM: "256.0",
    MARATHON_APP_RESOURCE_DISK: "0.0",
    MARATHON_APP_RESOURCE_GPUS: "0",
    MARATHON_APP_ENFORCE_GROUP_ROLE: "false",
    MARATHON_APP_LABELS: "OTHER MY_LABEL_X",
    MARATHON_APP_LABEL_MY_LABEL_X: "1",
    MARATHON_APP_LABEL_OTHER: "two",
    HOST: "mine",
    PORT: "8080",
    PORT0: "8080",
    PORT1: "31000",
    PORTS: "8080,31000",
    PORT_8080: "8080",
    PORT_9090: "31000",
    PORT_HTTP_API: "8080",
    SERVICE_NAME: "web",
  });
});

test("instanceContainer() on the flat network", () => {
  const spec = instanceContainer(
    assignmentOf("u1", { spec: { ports: [port(8080, null), port(9090, 0)], labels: { "apollo.instance": "forged" } } }),
    PLACEMENT,
  );
  expect(spec).toMatchObject({
    name: "web.instance-u1",
    network: "apollo",
    address: "10.2.1.5",
    dns: ["10.2.1.1"],
    dnsSearch: ["service.consul"],
    memoryBytes: 32 * 1024 * 1024,
    restart: "no",
    argv: null,
    entrypoint: null,
    publish: [
      {
        port: 9090,
        protocol: "tcp",
        hostPort: 0,
      },
    ],
  });
  expect(spec.labels).toMatchObject({
    "apollo.instance": "web.instance-u1",
    "apollo.app": "/web",
    MESOS_TASK_ID: "web.instance-u1",
  });
});

test("instanceContainer() on the host's network has no address, resolver or published port of its own", () => {
  const spec = instanceContainer(assignmentOf("u1", { spec: { network: "host", ports: [port(8080, 80)] } }), {
    ...PLACEMENT,
    network: "host",
  });
  expect(spec).toMatchObject({ network: "host", address: null, dns: [], dnsSearch: [], publish: [], exposedPorts: [] });
});

test("a Marathon cmd runs in the image's shell, args go to its entrypoint", () => {
  const command = (argv: readonly string[] | null, shell: boolean): unknown => {
    const { argv: given, entrypoint } = instanceContainer(assignmentOf("u1", { spec: { argv, shell } }), PLACEMENT);
    return [entrypoint, given];
  };
  expect(command(["/bin/sh", "-c", "run $PORT0"], true)).toEqual([["/bin/sh"], ["-c", "run $PORT0"]]);
  expect(command(["run $PORT0"], true)).toEqual([["/bin/sh"], ["-c", "run $PORT0"]]);
  expect(command(["--flag"], false)).toEqual([null, ["--flag"]]);
  expect(command(null, false)).toEqual([null, null]);
});

test("containerName() is one that Docker takes", () => {
  const names = ["shop_web.instance-1", "_x", "a/b:c", `${"long".repeat(100)}.instance-1`].map((id) =>
    containerName(id as InstanceId),
  );
  for (const name of names) expect(name).toMatch(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,250}$/);
  expect(names[0]).toBe("shop_web.instance-1");
  expect(names[3]).toEndWith(".instance-1");
});
