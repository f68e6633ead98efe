import { useContext, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { MarksContext, useFeed, useParts, usePageState, useTheme } from "./console-context.ts";
import type { FeedView } from "./feed-store.ts";
import { formatAppName, formatCount, formatCpus, formatInstanceName, formatMemory } from "./format-quantity.ts";
import { formatAddress, formatInstanceState, instanceSearch } from "./instance-text.ts";
import { MapPainter, type MapSpot } from "./map-painter.ts";
import { DARK_MAP, LIGHT_MAP } from "./map-theme.ts";
import type { MapHit } from "./plan-map.ts";
import { matchesSearch, parseSearch } from "./search-query.ts";

const ARROWS: Readonly<Record<string, "left" | "right" | "up" | "down">> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};

/** The live picture of hosts and the instances on them. `spotlight` names an app whose instances stand out. */
export function MapView({ spotlight }: { readonly spotlight: string | null }) {
  const { navigation } = useParts();
  const feed = useFeed();
  const { selection } = usePageState();
  const { canvas, scroller, spacer, painter } = useMapPainter(spotlight);
  const [spot, setSpot] = useState<MapSpot | null>(null);
  const [spoken, setSpoken] = useState("");

  const select = (hit: MapHit | null): void => {
    const same = hit !== null && hit.kind === selection?.kind && hit.key === selection.key;
    navigation.refine({ selection: same ? null : hit });
  };
  const move = (hit: MapHit | null): void => {
    setSpoken(hit === null ? "" : describeHit(feed, hit).join(", "));
    setSpot(hit === null ? null : (painter.current?.locate(hit) ?? null));
  };

  const label = `Map of ${formatCount(feed.hosts.length, "host")} and ${formatCount(feed.instances.length, "instance")}`;
  return (
    <div className="map" ref={scroller}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-roledescription="map"
        aria-label={`${label}. Arrow keys move, Enter shows details. The table shows the same.`}
        onMouseMove={(event) => {
          const edge = event.currentTarget.getBoundingClientRect();
          const found = painter.current?.hoverAt(event.clientX - edge.left, event.clientY - edge.top) ?? null;
          setSpot((last) => (sameSpot(last, found) ? last : found));
        }}
        onMouseLeave={() => {
          painter.current?.leave();
          setSpot(null);
        }}
        onClick={(event) => {
          const edge = event.currentTarget.getBoundingClientRect();
          select(painter.current?.hitAt(event.clientX - edge.left, event.clientY - edge.top) ?? null);
        }}
        onKeyDown={(event) => {
          const direction = ARROWS[event.key];
          if (direction !== undefined) {
            event.preventDefault();
            move(painter.current?.step(direction) ?? null);
          } else if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            select(painter.current?.focused() ?? null);
          } else if (event.key === "Escape") {
            setSpot(null);
            navigation.refine({ selection: null });
          }
        }}
        onFocus={() => painter.current?.focus(painter.current.focused())}
        onBlur={() => {
          painter.current?.leave();
          setSpot(null);
        }}
      />
      <div ref={spacer} className="map-spacer" />
      {spot === null ? null : <MapTip spot={spot} lines={describeHit(feed, spot.hit)} />}
      <p className="visually-hidden" role="status">
        {spoken}
      </p>
    </div>
  );
}

/** Makes the painter with the page and shows it everything that changes. */
function useMapPainter(spotlight: string | null) {
  const feed = useFeed();
  const { selection } = usePageState();
  const theme = useTheme() === "dark" ? DARK_MAP : LIGHT_MAP;
  const marks = useContext(MarksContext);
  const canvas = useRef<HTMLCanvasElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const painter = useRef<MapPainter | null>(null);
  const dimmed = useDimmed();

  useLayoutEffect(() => {
    if (canvas.current === null || scroller.current === null || spacer.current === null) return;
    const made = new MapPainter({ canvas: canvas.current, scroller: scroller.current, spacer: spacer.current });
    painter.current = made;
    // Browser tests ask where a thing stands in order to point at it.
    Object.assign(canvas.current, { locateOnMap: (hit: MapHit) => made.locate(hit) });
    return () => made.close();
  }, []);

  useEffect(() => {
    painter.current?.show({ feed, marks, theme, selected: selection, spotlight, dimmed });
  }, [feed, marks, theme, selection, spotlight, dimmed]);
  return { canvas, scroller, spacer, painter };
}

/** Instances that the search leaves out. */
function useDimmed(): ReadonlySet<string> {
  const feed = useFeed();
  const { query } = usePageState();
  return useMemo(() => {
    const terms = parseSearch(query);
    const out = new Set<string>();
    if (terms.length === 0) return out;
    for (const instance of feed.instances) if (!matchesSearch(terms, instanceSearch(instance))) out.add(instance.id);
    return out;
  }, [feed, query]);
}

function sameSpot(a: MapSpot | null, b: MapSpot | null): boolean {
  return a?.hit.kind === b?.hit.kind && a?.hit.key === b?.hit.key && a?.x === b?.x && a?.y === b?.y;
}

/** Stands beside the thing, not under the pointer, so that it does not tremble. */
function MapTip({ spot, lines }: { readonly spot: MapSpot; readonly lines: readonly string[] }) {
  const tip = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = tip.current;
    const area = element?.parentElement;
    if (element === null || area === null || area === undefined) return;
    const room = { width: area.clientWidth, height: area.clientHeight };
    // A host's tip belongs to its head line, a cell's to the cell.
    const height = spot.hit.kind === "host" ? Math.min(34, spot.height) : spot.height;
    const left = Math.max(4, Math.min(spot.x, room.width - element.offsetWidth - 4));
    const below = spot.y + height + 6;
    const top = below + element.offsetHeight <= room.height ? below : Math.max(4, spot.y - element.offsetHeight - 6);
    element.style.transform = `translate(${left}px, ${top + area.scrollTop}px)`;
  });
  const [title, ...rest] = lines;
  return (
    <div className="map-tip" ref={tip} aria-hidden>
      <strong>{title}</strong>
      {rest.map((line) => (
        <span key={line}>{line}</span>
      ))}
    </div>
  );
}

/** The few facts about a thing that a glance wants. */
function describeHit(feed: FeedView, hit: MapHit): readonly string[] {
  if (hit.kind === "host") {
    const host = feed.hosts.find((candidate) => candidate.name === hit.key);
    if (host === undefined) return [hit.key, "not in the cluster"];
    const { cpus, memoryMiB } = host;
    return [
      host.name,
      `${host.phase}${host.cordoned ? ", cordoned" : ""} · ${formatCount(host.instances, "instance")}`,
      `CPU ${formatCpus(cpus.used)} of ${formatCpus(cpus.total)} · memory ${formatMemory(memoryMiB.used)} of ${formatMemory(memoryMiB.total)}`,
      `${host.address} · ${host.blocks.join(" ")}`,
    ];
  }
  const instance = feed.instances.find((candidate) => candidate.id === hit.key);
  if (instance === undefined) return [formatInstanceName(hit.key), "no longer there"];
  return [
    formatAppName(instance.app),
    `${formatInstanceState(instance)}${instance.address === null ? "" : ` · ${formatAddress(instance)}`}`,
    `${formatInstanceName(instance.id)} on ${instance.host}${instance.current ? "" : " · older version"}`,
    ...(instance.message === null ? [] : [instance.message]),
  ];
}
