import { ActionsHead } from "./actions-head.tsx";
import type { HostJson } from "../api/native/shapes.ts";
import { useFeed, useNowMs, usePageState } from "./console-context.ts";
import { EmptyNote } from "./empty-note.tsx";
import { formatDuration } from "./format-quantity.ts";
import { hostHref } from "./instance-text.ts";
import { matchesSearch, parseSearch, type SearchFields } from "./search-query.ts";
import { CordonButton, HostCpu, HostMemory, HostState } from "./selection-panel.tsx";

export function HostsPage() {
  const feed = useFeed();
  const { query } = usePageState();
  const nowMs = useNowMs(1000);
  const terms = parseSearch(query);
  const hosts = feed.hosts.filter((host) => matchesSearch(terms, hostSearch(host)));
  return (
    <div className="page">
      <h1>Hosts</h1>
      {feed.hosts.length === 0 ? (
        <EmptyNote text="No host has joined yet. This prints the command that joins one:" command="apollo host token" />
      ) : (
        <div className="table-wrap">
          <table>
            <caption className="visually-hidden">Hosts and their capacity</caption>
            <thead>
              <tr>
                <th scope="col">Host</th>
                <th scope="col">State</th>
                <th scope="col">CPU</th>
                <th scope="col">Memory</th>
                <th scope="col" className="number">
                  Instances
                </th>
                <th scope="col">Block</th>
                <th scope="col">Agent</th>
                <ActionsHead />
              </tr>
            </thead>
            <tbody>
              {hosts.map((host) => (
                <HostRow key={host.name} host={host} nowMs={nowMs} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {feed.hosts.length > 0 && hosts.length === 0 ? <EmptyNote text={`No host matches "${query}".`} /> : null}
    </div>
  );
}

function HostRow({ host, nowMs }: { readonly host: HostJson; readonly nowMs: number }) {
  return (
    <tr data-host={host.name}>
      <th scope="row">
        <a href={hostHref(host.name)}>{host.name}</a>
        <div className="note numeric">{host.address}</div>
      </th>
      <td>
        <HostState host={host} />
        {host.phase === "down" && host.lastSeenMs !== null ? (
          <div className="note numeric">for {formatDuration(nowMs - host.lastSeenMs)}</div>
        ) : null}
        {host.conditions.map((condition) => (
          <div
            key={condition.code}
            className={condition.severity === "info" ? "note" : `note note-${condition.severity}`}
          >
            {condition.text}
          </div>
        ))}
      </td>
      <td data-label="CPU">
        <HostCpu host={host} />
      </td>
      <td data-label="Memory">
        <HostMemory host={host} />
      </td>
      <td className="number" data-label="Instances">
        {host.instances}
      </td>
      <td data-label="Block">
        {host.blocks.map((block) => (
          <code key={block}>{block}</code>
        ))}
      </td>
      <td data-label="Agent">{host.agentVersion ?? "–"}</td>
      <td className="row-actions">
        <CordonButton host={host} />
      </td>
    </tr>
  );
}

function hostSearch(host: HostJson): SearchFields {
  return {
    host: host.name,
    address: host.address,
    block: host.blocks,
    state: [host.phase, host.cordoned ? "cordoned" : "schedulable"],
    label: Object.entries(host.labels).map(([key, value]) => `${key}=${value}`),
  };
}
