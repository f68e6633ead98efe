import { useRef } from "react";
import type { HostJson, InstanceJson } from "../api/native/shapes.ts";
import { instanceState } from "./app-tally.ts";
import { useAction, useFeed, useNowMs, useParts } from "./console-context.ts";
import { CopyText } from "./copy-text.tsx";
import { ActionFailure } from "./failure-note.tsx";
import {
  formatCount,
  formatCpus,
  formatDuration,
  formatInstanceName,
  formatMemory,
  formatTime,
} from "./format-quantity.ts";
import { CapacityBar } from "./health-bar.tsx";
import { ReplaceButton } from "./instance-table.tsx";
import { hostHref, formatInstanceState } from "./instance-text.ts";
import { AppLink, INSTANCE_TONE, StateWord, type Tone } from "./marks.tsx";
import type { Selection } from "./page-state.ts";

/** Details of what is selected on the map. Something that goes away stays readable, marked as gone. */
export function SelectionPanel({ selection }: { readonly selection: Selection }) {
  const { navigation } = useParts();
  const feed = useFeed();
  const found =
    selection.kind === "host"
      ? feed.hosts.find((host) => host.name === selection.key)
      : feed.instances.find((instance) => instance.id === selection.key);
  const kept = useRef<{ key: string; item: HostJson | InstanceJson } | null>(null);
  if (found !== undefined) kept.current = { key: selection.key, item: found };
  const item = found ?? (kept.current?.key === selection.key ? kept.current.item : null);
  return (
    <section className="panel" aria-label="Details of the selection">
      <div className="panel-head">
        <h2>{selection.kind === "host" ? selection.key : formatInstanceName(selection.key)}</h2>
        <button
          type="button"
          className="button-plain"
          aria-label="Close details"
          onClick={() => navigation.refine({ selection: null })}
        >
          ×
        </button>
      </div>
      {found === undefined ? (
        <p className="gone">
          {item === null ? `There is no such ${selection.kind} now.` : "No longer there. This is how it was last seen."}
        </p>
      ) : null}
      {item === null ? null : "joinedAtMs" in item ? <HostDetails host={item} /> : <InstanceDetails instance={item} />}
    </section>
  );
}

function InstanceDetails({ instance }: { readonly instance: InstanceJson }) {
  const nowMs = useNowMs(1000);
  return (
    <>
      <dl className="facts">
        <dt>App</dt>
        <dd>
          <AppLink app={instance.app} />
        </dd>
        <dt>State</dt>
        <dd>
          <StateWord tone={INSTANCE_TONE[instanceState(instance)]}>{formatInstanceState(instance)}</StateWord>
          {instance.message === null ? null : <div className="note">{instance.message}</div>}
        </dd>
        <dt>Host</dt>
        <dd>
          <a href={hostHref(instance.host)}>{instance.host}</a>
        </dd>
        <dt>Address</dt>
        <dd>{instance.address === null ? "none yet" : <CopyText text={instance.address} what="address" />}</dd>
        <dt>Ports</dt>
        <dd className="numeric">{instance.ports.length === 0 ? "none" : instance.ports.join(", ")}</dd>
        <dt>Version</dt>
        <dd>
          <span className="numeric">{instance.version}</span>
          {instance.current ? null : <span className="old"> older</span>}
        </dd>
        <dt>Started</dt>
        <dd className="numeric">
          {instance.startedAtMs === null
            ? "not yet"
            : `${formatTime(instance.startedAtMs)} · ${formatDuration(nowMs - instance.startedAtMs)} ago`}
        </dd>
        <dt>Id</dt>
        <dd>
          <CopyText text={instance.id} what="id" />
        </dd>
      </dl>
      <ReplaceButton instance={instance} />
    </>
  );
}

const HOST_TONE: Readonly<Record<HostJson["phase"], Tone>> = { up: "good", joining: "busy", down: "bad" };

export function HostState({ host }: { readonly host: HostJson }) {
  if (host.phase === "up" && host.cordoned) return <StateWord tone="warn">cordoned</StateWord>;
  return <StateWord tone={HOST_TONE[host.phase]}>{host.cordoned ? `${host.phase}, cordoned` : host.phase}</StateWord>;
}

/** CPU and memory of a host, as bars. */
export function HostCpu({ host }: { readonly host: HostJson }) {
  const { used, total } = host.cpus;
  const figures = `${formatCpus(used)} of ${formatCpus(total)}`;
  return <CapacityBar label="CPU" share={total > 0 ? used / total : 0} figures={figures} />;
}

export function HostMemory({ host }: { readonly host: HostJson }) {
  const { used, total } = host.memoryMiB;
  const figures = `${formatMemory(used)} of ${formatMemory(total)}`;
  return <CapacityBar label="Memory" share={total > 0 ? used / total : 0} figures={figures} />;
}

export function CordonButton({ host }: { readonly host: HostJson }) {
  const { api } = useParts();
  const { action, run, clear } = useAction();
  return (
    <>
      <button
        type="button"
        className="button"
        disabled={action.state === "pending"}
        title={
          host.cordoned ? "Let new instances be placed here again" : "Place no new instances here; those here stay"
        }
        onClick={() => run(() => api.setCordon(host.name, !host.cordoned))}
      >
        {host.cordoned ? "Uncordon" : "Cordon"}
      </button>
      <ActionFailure action={action} onClose={clear} />
    </>
  );
}

function HostDetails({ host }: { readonly host: HostJson }) {
  const nowMs = useNowMs(1000);
  const feed = useFeed();
  const apps = Map.groupBy(feed.instancesByHost.get(host.name) ?? [], (instance) => instance.app);
  const labels = Object.entries(host.labels);
  return (
    <>
      <dl className="facts">
        <dt>State</dt>
        <dd>
          <HostState host={host} />
          {host.phase === "down" && host.lastSeenMs !== null ? (
            <div className="note">last heard of {formatDuration(nowMs - host.lastSeenMs)} ago</div>
          ) : null}
        </dd>
        <dt>CPU</dt>
        <dd>
          <HostCpu host={host} />
        </dd>
        <dt>Memory</dt>
        <dd>
          <HostMemory host={host} />
        </dd>
        <dt>Address</dt>
        <dd>
          <CopyText text={host.address} what="address" />
        </dd>
        <dt>Block</dt>
        <dd>
          {host.blocks.map((block) => (
            <CopyText key={block} text={block} what="block" />
          ))}
        </dd>
        <dt>Apps</dt>
        <dd>
          {apps.size === 0 ? "none" : null}
          <ul className="plain-list">
            {[...apps].map(([app, instances]) => (
              <li key={app}>
                <AppLink app={app} />
                <span className="quiet" title={formatCount(instances.length, "instance")}>
                  × {instances.length}
                </span>
              </li>
            ))}
          </ul>
        </dd>
        <dt>Labels</dt>
        <dd>
          {labels.length === 0
            ? "none"
            : labels.map(([key, value]) => <code key={key} className="tag">{`${key}=${value}`}</code>)}
        </dd>
        <dt>Agent</dt>
        <dd>{host.agentVersion ?? "unknown"}</dd>
        <dt>Joined</dt>
        <dd className="numeric">{formatTime(host.joinedAtMs)}</dd>
      </dl>
      {host.conditions.map((condition) => (
        <div key={condition.code} className={`condition condition-${condition.severity}`}>
          <p>{condition.text}</p>
          <p className="quiet">{condition.hint}</p>
        </div>
      ))}
      <CordonButton host={host} />
    </>
  );
}
