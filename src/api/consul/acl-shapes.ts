import { fingerprint } from "../../discovery/registry/catalog-operations.ts";
import type { AclLink, AclToken } from "../../discovery/registry/records.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { Call } from "./call.ts";
import type { Fields } from "./read-fields.ts";

/** @throws AppError 401 in the words that clients look for when ACLs are off. */
export function requireAcl({ backend }: Call): void {
  if (!backend.aclEnabled) throw registryError(401, "ACL support disabled");
}

/** Clients compare it to see whether an object is as they want it. */
export function hashOf(call: Call, value: object): string {
  return Uint8Array.fromHex(call.backend.parts.registry.digest.sha256(fingerprint(value))).toBase64();
}

export function readLinks(fields: Fields, name: string): readonly AclLink[] {
  return fields.objects(name).map((each) => {
    const link = { id: each.string("ID"), name: each.string("Name") };
    each.finish();
    return link;
  });
}

export function readServiceIdentities(fields: Fields): AclToken["serviceIdentities"] {
  return fields.objects("ServiceIdentities").map((each) => {
    const identity = { serviceName: each.string("ServiceName"), datacenters: each.strings("Datacenters") };
    each.finish();
    return identity;
  });
}

export function readNodeIdentities(fields: Fields): AclToken["nodeIdentities"] {
  return fields.objects("NodeIdentities").map((each) => {
    const identity = { nodeName: each.string("NodeName"), datacenter: each.string("Datacenter") };
    each.finish();
    return identity;
  });
}

export function renderServiceIdentities(identities: AclToken["serviceIdentities"]): readonly object[] {
  return identities.map(({ serviceName, datacenters }) => ({ ServiceName: serviceName, Datacenters: datacenters }));
}

export function renderNodeIdentities(identities: AclToken["nodeIdentities"]): readonly object[] {
  return identities.map(({ nodeName, datacenter }) => ({ NodeName: nodeName, Datacenter: datacenter }));
}
