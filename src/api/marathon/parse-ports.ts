/**
 * Networks and ports of an app, in the four forms that Marathon had over the years:
 *   2015        container.docker.{network, portMappings}, ports
 *   1.0 to 1.4  ipAddress, portDefinitions
 *   since 1.5   networks, container.portMappings
 * All become one: the flat network with the ports the program listens on, or the host's own network. On the flat network
 * no port of the host is needed, so Marathon's `hostPort: 0` ("any") publishes none; a number does publish it.
 */
import type { AppSpec, PortSpec, Protocol } from "../../model/app.ts";
import { isIpv4 } from "../../model/ip.ts";
import type { Ipv4 } from "../../model/ip.ts";
import type { JsonObject } from "../read-json.ts";
import { checkFields } from "./app-fields.ts";

const PORT_MAX = 65_535;
const NETWORK_NAME = "apollo";
const ANY_PORT =
  "0 (any free port) is not supported on the host's network: name the port, or use container networking, where every port is free";
const NETWORK_NAMES = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const PORT_NAME = /^[a-z0-9-]{1,63}$/;

export interface AppPorts {
  readonly network: AppSpec["network"];
  readonly ports: readonly PortSpec[];
  /** Fixed addresses, ours: `networks: [{ mode: "container", addresses: ["10.2.0.10"] }]`. Missing when there are none. */
  readonly addresses?: readonly Ipv4[];
}

export function parsePorts(app: JsonObject, container: JsonObject | null, docker: JsonObject | null): AppPorts {
  const mappings = parseMappings(container, docker);
  const definitions = app.objects("portDefinitions")?.map(parseDefinition) ?? [];
  const numbers = readPorts(app);
  app.boolean("requirePorts");
  const wantsHost = mappings === null && (definitions.length > 0 || numbers.length > 0);
  const network = parseNetwork(app, docker) ?? (wantsHost ? "host" : "apollo");
  if (network === "host" && (mappings ?? []).length > 0) {
    app.issues.sense("/container/portMappings", "portMappings are not allowed with host-networking");
  }
  if (network !== "host" && definitions.length > 0) {
    app.issues.sense("/portDefinitions", "portDefinitions are only allowed with host-networking");
  }
  const ports =
    network === "host" ? hostPorts(app, definitions, numbers) : withServicePorts(app, mappings ?? [], numbers);
  checkUnique(app, ports, network === "host" ? "/portDefinitions" : "/container/portMappings");
  const addresses = parseAddresses(app);
  return { network, ports, ...(addresses.length === 0 ? {} : { addresses }) };
}

function parseAddresses(app: JsonObject): readonly Ipv4[] {
  const [network] = app.objects("networks") ?? [];
  const texts = network?.strings("addresses") ?? [];
  if (network === undefined || texts.length === 0) return [];
  const path = network.at("addresses");
  for (const text of texts) if (!isIpv4(text)) network.issues.sense(path, `"${text}" is no IPv4 address`);
  if (new Set(texts).size !== texts.length) network.issues.sense(path, "an address may be named once only");
  if (network.string("mode") === "host")
    network.issues.sense(path, "on the host's network there is no address to choose");
  const name = network.string("name") ?? NETWORK_NAME;
  if (name !== NETWORK_NAME && name !== "") {
    network.issues.sense(path, `fixed addresses are for network "${NETWORK_NAME}" only`);
  }
  const instances = app.number("instances") ?? 1;
  if (texts.length < instances) {
    network.issues.sense(path, `${instances} instances need as many addresses, there are ${texts.length}`);
  }
  return texts.filter(isIpv4);
}

function parseNetwork(app: JsonObject, docker: JsonObject | null): AppSpec["network"] | null {
  const legacy = docker?.oneOf("network", ["HOST", "BRIDGE", "USER"]) ?? null;
  const networks = app.objects("networks");
  const ipAddress = app.object("ipAddress");
  if (networks !== null && legacy !== null) {
    app.issues.sense("/", "must not specify both container.docker.network and networks");
  }
  if (networks !== null && ipAddress !== null) app.issues.sense("/", "must not specify both networks and ipAddress");
  if (ipAddress !== null) checkFields(ipAddress, "ipAddress");
  if (networks !== null && networks.length > 0) return parseNetworks(app, networks);
  if (legacy !== null) return legacy === "HOST" ? "host" : "apollo";
  return ipAddress === null ? null : readNetworkName(ipAddress, "networkName");
}

function parseNetworks(app: JsonObject, networks: readonly JsonObject[]): AppSpec["network"] {
  if (networks.length > 1) {
    app.issues.sense("/networks", "may only specify a single container network when using the Docker container engine");
  }
  const modes = networks.map((network) => {
    checkFields(network, "network");
    const mode = network.oneOf("mode", ["host", "container/bridge", "container"]) ?? "container";
    if (mode === "host" && network.has("name")) {
      app.issues.sense(network.path, "Host networks may not have names or labels");
    }
    if (mode === "container/bridge" && network.has("name")) {
      app.issues.sense(network.path, "Bridge networks may not have names");
    }
    if (mode === "host") return "host";
    return mode === "container" ? readNetworkName(network, "name") : NETWORK_NAME;
  });
  return modes[0] ?? NETWORK_NAME;
}

/** Whether there is such a network, the server says; here it only has to look like one. */
function readNetworkName(object: JsonObject, field: string): string {
  const name = object.string(field) ?? "";
  if (name === "") return NETWORK_NAME;
  if (!NETWORK_NAMES.test(name) || name === "host") {
    object.issues.sense(object.at(field), `"${name}" is no name of a network: a-z, 0-9 and -`);
  }
  return name;
}

/** Null when the app gives none at all. */
function parseMappings(container: JsonObject | null, docker: JsonObject | null): readonly PortSpec[] | null {
  const modern = container?.objects("portMappings") ?? null;
  const legacy = docker?.objects("portMappings") ?? null;
  if (container !== null && modern !== null && legacy !== null && legacy.length > 0) {
    container.issues.sense(
      "/container",
      "must not specify both container.docker.portMappings and container.portMappings",
    );
  }
  return (modern ?? legacy)?.map(parseMapping) ?? null;
}

function parseMapping(mapping: JsonObject): PortSpec {
  checkFields(mapping, "portMapping");
  // An app has one network, so which one is not a question; the server knows whether there is one of the name.
  for (const name of mapping.strings("networkNames") ?? []) {
    if (!NETWORK_NAMES.test(name))
      mapping.issues.sense(mapping.at("networkNames"), `"${name}" is no name of a network`);
  }
  const containerPort = mapping.integer("containerPort", 0, PORT_MAX) ?? 0;
  const hostPort = mapping.integer("hostPort", 0, PORT_MAX) ?? 0;
  if (containerPort === 0 && hostPort === 0) {
    mapping.issues.sense(
      mapping.at("containerPort"),
      "must be the port the program listens on, 1 to 65535: it has an address of its own, so any is free",
    );
  }
  return {
    containerPort: containerPort === 0 ? hostPort : containerPort,
    hostPort: hostPort === 0 ? null : hostPort,
    servicePort: mapping.integer("servicePort", 0, PORT_MAX) ?? 0,
    ...parseCommon(mapping),
  };
}

function parseDefinition(definition: JsonObject): PortSpec {
  checkFields(definition, "portDefinition");
  const port = definition.integer("port", 0, PORT_MAX) ?? 0;
  if (port === 0) definition.issues.sense(definition.at("port"), ANY_PORT);
  return { containerPort: port, hostPort: port, servicePort: port, ...parseCommon(definition) };
}

/** The oldest form, `ports`: host ports on the host's network, service ports with a network of its own. */
function readPorts(app: JsonObject): readonly number[] {
  return (app.list("ports") ?? []).flatMap(({ value, path }) => {
    if (typeof value !== "number" || !Number.isInteger(value)) {
      app.issues.form(path, "error.expected.jsnumber");
      return [];
    }
    if (value < 0 || value > PORT_MAX) app.issues.sense(path, `got ${value}, expected between 0 and ${PORT_MAX}`);
    return [value];
  });
}

function hostPorts(app: JsonObject, definitions: readonly PortSpec[], numbers: readonly number[]): readonly PortSpec[] {
  if (definitions.length > 0) {
    if (numbers.length > 0 && String(numbers) !== String(definitions.map((port) => port.servicePort))) {
      app.issues.sense("/", "cannot specify both ports and port definitions");
    }
    return definitions;
  }
  if (numbers.includes(0)) app.issues.sense("/ports", ANY_PORT);
  return numbers.map((port) => ({
    containerPort: port,
    hostPort: port,
    servicePort: port,
    protocol: "tcp",
    name: null,
    labels: {},
  }));
}

/** Old definitions, and our own answers, carry the service ports beside the mappings. */
function withServicePorts(
  app: JsonObject,
  mappings: readonly PortSpec[],
  numbers: readonly number[],
): readonly PortSpec[] {
  if (numbers.every((port) => port === 0)) return mappings;
  const agrees = ({ servicePort }: PortSpec, number = 0): boolean =>
    servicePort === 0 || number === 0 || servicePort === number;
  if (mappings.length !== numbers.length || !mappings.every((mapping, index) => agrees(mapping, numbers[index]))) {
    app.issues.sense("/ports", "cannot specify ports that differ from the service ports of the port mappings");
    return mappings;
  }
  return mappings.map((mapping, index) => ({ ...mapping, servicePort: mapping.servicePort || (numbers[index] ?? 0) }));
}

function parseCommon(object: JsonObject): Pick<PortSpec, "protocol" | "name" | "labels"> {
  const name = object.string("name");
  if (name !== null && !PORT_NAME.test(name)) {
    object.issues.sense(object.at("name"), "must fully match regular expression '^[a-z0-9-]+$'");
  }
  return { protocol: parseProtocol(object), name, labels: object.stringMap("labels") };
}

function parseProtocol(object: JsonObject): Protocol {
  const text = object.string("protocol")?.replaceAll(" ", "").toLowerCase();
  if (text === "udp,tcp" || text === "tcp,udp") {
    object.issues.sense(object.at("protocol"), 'must be "tcp" or "udp": write one mapping for each');
    return "tcp";
  }
  return object.oneOf("protocol", ["tcp", "udp"]) ?? "tcp";
}

function checkUnique(app: JsonObject, ports: readonly PortSpec[], path: string): void {
  const repeated = (values: readonly (string | null)[]): boolean => {
    const given = values.filter((value) => value !== null);
    return new Set(given).size !== given.length;
  };
  const numbered = (field: "containerPort" | "hostPort"): readonly (string | null)[] =>
    ports.map((port) => (port[field] === null || port[field] === 0 ? null : `${port[field]}/${port.protocol}`));
  const servicePorts = ports.map((port) => (port.servicePort === 0 ? null : `${port.servicePort}/${port.protocol}`));
  if (repeated(numbered("containerPort")) || repeated(numbered("hostPort")) || repeated(servicePorts)) {
    app.issues.sense(path, "Ports must be unique.");
  }
  if (repeated(ports.map((port) => port.name))) app.issues.sense(path, "Port names must be unique.");
}
