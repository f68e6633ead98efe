/** Policies with a hole for a name. */
import {
  findTemplate,
  POLICY_TEMPLATES,
  type PolicyTemplate,
  renderTemplate,
  type TemplatedPolicy,
} from "../../discovery/registry/acl/templated-policies.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { hashOf, requireAcl } from "./acl-shapes.ts";
import type { Call } from "./call.ts";
import { type Fields, readFields } from "./read-fields.ts";
import { json } from "./respond.ts";

/** Clients read it to learn which variables there are. */
const NAME_SCHEMA = JSON.stringify({
  type: "object",
  properties: { name: { type: "string", $ref: "#/definitions/min-length-one" } },
  required: ["name"],
  definitions: { "min-length-one": { type: "string", minLength: 1 } },
});

function require(call: Call): void {
  requireAcl(call);
  call.caller.grants.require("acl", "", "read");
}

function renderTemplateShape({ name, description, takesName, template }: PolicyTemplate): object {
  return { TemplateName: name, Schema: takesName ? NAME_SCHEMA : "", Template: template, Description: description };
}

export function listTemplates(call: Call): HttpResponse {
  require(call);
  return json(call, Object.fromEntries(POLICY_TEMPLATES.map((each) => [each.name, renderTemplateShape(each)])));
}

export function getTemplate(call: Call): HttpResponse {
  require(call);
  return json(call, renderTemplateShape(requireTemplate(call.rest)));
}

/** The policy that a token with it has; nothing is stored. */
export async function previewTemplate(call: Call): Promise<HttpResponse> {
  require(call);
  const { name, description } = requireTemplate(call.rest);
  const variables = readVariables(await readFields(call.request));
  const rules = renderTemplate({ templateName: name, name: variables });
  const id = call.backend.parts.registry.digest.sha256(rules).slice(0, 32);
  return json(call, {
    ID: id,
    Name: `synthetic-policy-${id}`,
    Description: `synthetic policy generated from templated policy: ${name}. ${description}`,
    Rules: rules,
    Datacenters: null,
    Hash: hashOf(call, { id, rules }),
    CreateIndex: 0,
    ModifyIndex: 0,
  });
}

function requireTemplate(name: string): PolicyTemplate {
  const found = findTemplate(name);
  if (found === null) throw registryError(404, `Invalid templated policy Name: ${name}`);
  return found;
}

function readVariables(fields: Fields): string {
  const name = fields.string("Name");
  fields.finish();
  return name;
}

/** @throws AppError 400 for a template that there is none of, or without the name that it needs. */
export function readTemplatedPolicies(fields: Fields): readonly TemplatedPolicy[] {
  return fields.objects("TemplatedPolicies").map((each) => {
    const variables = each.object("TemplateVariables");
    each.ignore("TemplateID");
    const policy = {
      templateName: each.string("TemplateName"),
      name: variables === null ? "" : readVariables(variables),
      datacenters: each.strings("Datacenters"),
    };
    each.finish();
    renderTemplate(policy);
    return policy;
  });
}

/** Left out when there are none, as Consul leaves it out. */
export function renderTemplatedPolicies(policies: readonly TemplatedPolicy[] | undefined): object {
  if (policies === undefined || policies.length === 0) return {};
  const shown = policies.map(({ templateName, name, datacenters }) => ({
    TemplateName: templateName,
    ...(name === "" ? {} : { TemplateVariables: { name } }),
    ...(datacenters.length === 0 ? {} : { Datacenters: datacenters }),
  }));
  return { TemplatedPolicies: shown };
}
