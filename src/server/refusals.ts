import type { Host } from "../model/host.ts";
import type { Refusal } from "../model/wire.ts";

/** Told to an agent whose host is no member any more. */
export function removed(): Refusal {
  return {
    code: "host-removed",
    text: "This host was removed from the cluster: its instances were replaced and its blocks went to others",
    hint: "apollo agent --server https://ADDRESS:8443 --token TOKEN joins again, with a token from apollo host token",
  };
}

/** Told to the later one of two agents with one identity. */
export function doubled(host: Host, address: string): Refusal {
  return {
    code: "host-doubled",
    text: `Two agents have the identity of host "${host.name}": one at ${host.address} is connected, this one at ${address} is refused`,
    hint: "On the copy, remove agent.json and last-known.json from the agent's data directory and join under another --name",
  };
}
