/** Policies with a hole for a name: what services, nodes and Consul's usual companions need, without rules to write. */
import { registryError } from "../registry-error.ts";
import { parseRules, type Rule } from "./parse-rules.ts";

export interface TemplatedPolicy {
  readonly templateName: string;
  /** Fills the hole; "" for templates without one. */
  readonly name: string;
  readonly datacenters: readonly string[];
}

export interface PolicyTemplate {
  readonly name: string;
  readonly description: string;
  /** Whether a token or role that uses it must name something. */
  readonly takesName: boolean;
  /** Rules with `{{.Name}}` for the name. */
  readonly template: string;
}

const READ_CATALOG = [`node_prefix "" {\n\tpolicy = "read"\n}`, `service_prefix "" {\n\tpolicy = "read"\n}`];

function rules(...blocks: readonly string[]): string {
  return `\n${blocks.join("\n")}`;
}

function block(resource: string, name: string, policy: "read" | "write"): string {
  return `${resource} "${name}" {\n\tpolicy = "${policy}"\n}`;
}

const HOLE = "{{.Name}}";

/** By name, in the order of names. */
export const POLICY_TEMPLATES: readonly PolicyTemplate[] = [
  {
    name: "builtin/api-gateway",
    description: "For an API gateway: it registers itself and routes to the services that it finds",
    takesName: true,
    template: rules(`mesh = "read"`, ...READ_CATALOG, block("service", HOLE, "write")),
  },
  {
    name: "builtin/dns",
    description: "For DNS: it looks up nodes, services and prepared queries",
    takesName: false,
    template: rules(...READ_CATALOG, block("query_prefix", "", "read")),
  },
  {
    name: "builtin/node",
    description: "For an agent or node: it registers itself and reads what runs elsewhere",
    takesName: true,
    template: rules(block("node", HOLE, "write"), block("service_prefix", "", "read")),
  },
  {
    name: "builtin/nomad-client",
    description: "For a Nomad client: it registers services and reads nodes, agents and keys",
    takesName: false,
    template: rules(
      block("agent_prefix", "", "read"),
      block("node_prefix", "", "read"),
      block("service_prefix", "", "write"),
      block("key_prefix", "", "read"),
    ),
  },
  {
    name: "builtin/nomad-server",
    description: "For a Nomad server: it registers services and makes tokens for what it starts",
    takesName: false,
    template: rules(
      block("agent_prefix", "", "read"),
      block("node_prefix", "", "read"),
      block("service_prefix", "", "write"),
      `acl = "write"`,
      `mesh = "write"`,
    ),
  },
  {
    name: "builtin/service",
    description: "For a service: it and its sidecar proxy register themselves and find others",
    takesName: true,
    template: rules(
      block("service", HOLE, "write"),
      block("service", `${HOLE}-sidecar-proxy`, "write"),
      ...READ_CATALOG,
    ),
  },
];

export function findTemplate(name: string): PolicyTemplate | null {
  return POLICY_TEMPLATES.find((each) => each.name === name) ?? null;
}

/** So a name cannot break out of the rules that it is put into. */
const NAME = /^[\w-]{1,256}$/;

/** @throws AppError 400 for a template that there is none of, or a name that does not fit it. */
export function renderTemplate(policy: Pick<TemplatedPolicy, "templateName" | "name">): string {
  const template = findTemplate(policy.templateName);
  if (template === null)
    throw registryError(400, `no such ACL templated policy with Name ${JSON.stringify(policy.templateName)}`);
  if (template.takesName && policy.name === "")
    throw registryError(400, `validation error with templated policy ${template.name}: name is required`);
  if (template.takesName && !NAME.test(policy.name))
    throw registryError(
      400,
      `validation error with templated policy ${template.name}: ${JSON.stringify(policy.name)} has an invalid name. Only alphanumeric characters, '-' and '_' are allowed`,
    );
  return template.template.replaceAll(HOLE, policy.name);
}

export function rulesOfTemplated(policy: TemplatedPolicy): readonly Rule[] {
  return parseRules(renderTemplate(policy));
}
