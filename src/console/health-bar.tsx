import type { AppTally } from "./app-tally.ts";

/** How many of the wanted instances are ready, as a bar and in words. */
export function HealthBar({ tally }: { readonly tally: AppTally }) {
  const parts = [
    { name: "ready", count: tally.ready },
    { name: "unhealthy", count: tally.unhealthy },
    { name: "starting", count: tally.starting },
    { name: "missing", count: tally.missing },
  ];
  const total = Math.max(
    1,
    parts.reduce((sum, part) => sum + part.count, 0),
  );
  return (
    <span className="health">
      <span className="health-bar" aria-hidden>
        {parts.map((part) => (
          <span
            key={part.name}
            className={`health-part health-${part.name}`}
            style={{ flexGrow: part.count / total }}
          />
        ))}
      </span>
      <span className="health-text">{formatTally(tally)}</span>
    </span>
  );
}

/** "4 of 4 healthy", and what keeps the rest from it. */
export function formatTally(tally: AppTally): string {
  const word = tally.checked || tally.ready === 0 ? "healthy" : "running";
  const gone = tally.failed + tally.lost;
  const notes = [
    tally.unhealthy > 0 ? `${tally.unhealthy} unhealthy` : "",
    tally.failed > 0 ? `${tally.failed} failed` : "",
    tally.starting > 0 ? `${tally.starting} starting` : "",
    tally.lost > 0 ? `${tally.lost} lost` : "",
    tally.missing > gone ? `${tally.missing - gone} waiting` : "",
    tally.leaving > 0 ? `${tally.leaving} stopping` : "",
  ].filter((note) => note !== "");
  const head = tally.wanted === 0 && tally.ready === 0 ? "suspended" : `${tally.ready} of ${tally.wanted} ${word}`;
  return notes.length === 0 ? head : `${head} · ${notes.join(", ")}`;
}

/** Used share of something, as a bar with its figures. */
export function CapacityBar({ label, share, figures }: { label: string; share: number; figures: string }) {
  const width = `${Math.round(Math.min(1, Math.max(0, share)) * 1000) / 10}%`;
  return (
    <span className="capacity">
      <span className="capacity-figures">
        <span className="visually-hidden">{label} </span>
        {figures}
      </span>
      <span className="capacity-bar" aria-hidden>
        <span className={share >= 0.9 ? "capacity-used capacity-full" : "capacity-used"} style={{ width }} />
      </span>
    </span>
  );
}
