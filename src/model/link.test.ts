import { expect, test } from "bun:test";
import type { HostId } from "./ids.ts";
import type { LinkReport } from "./link.ts";
import { applyLinkChanges, countedLinks, joinLinkChanges, linkChanges } from "./link.ts";
import { parseAgentMessage } from "./parse-message.ts";

const LINK: LinkReport = {
  peerId: "id2" as HostId,
  peer: "h2",
  mode: "direct",
  via: null,
  why: "near",
  up: true,
  rttMs: 0.3,
  lossPercent: 0,
  mtu: 1500,
  txBytes: null,
  rxBytes: null,
  encryption: "none",
  sinceMs: 5,
};

test.each([
  ["nothing", {}, false],
  ["noise of a fast path", { rttMs: 1.2 }, false],
  ["a path that became slow", { rttMs: 40 }, true],
  ["no answer any more", { rttMs: null }, true],
  ["one lost probe of fifty", { lossPercent: 2 }, false],
  ["loss", { lossPercent: 6 }, true],
  ["counted bytes", { txBytes: 7 }, false],
  ["another mode", { mode: "vxlan" }, true],
  ["another MTU", { mtu: 1400 }, true],
  ["another reason", { why: "far" }, true],
] as const)("linkChanges(): %s", (_, change, differs) => {
  const after = { ...LINK, ...change } as LinkReport;
  expect(linkChanges([LINK], [after])).toEqual(differs ? { upsert: [after], remove: [] } : null);
});

test("countedLinks() sees bytes of any link, and nothing else", () => {
  expect(countedLinks([LINK], [{ ...LINK, rttMs: 40 }])).toBeNull();
  const other = { ...LINK, peerId: "id3" as HostId, rxBytes: 1 };
  expect(countedLinks([LINK, { ...other, rxBytes: 0 }], [LINK, other])).toEqual({ upsert: [other], remove: [] });
  expect(countedLinks([LINK], [{ ...LINK, txBytes: 0 }])?.upsert).toHaveLength(1);
});

test("joinLinkChanges() tells each link once, whichever of both has it", () => {
  const [third, fourth] = [
    { ...LINK, peerId: "id3" as HostId, txBytes: 1 },
    { ...LINK, peerId: "id4" as HostId, txBytes: 2 },
  ];
  const changed = { upsert: [LINK, third], remove: ["id9" as HostId] };
  expect(joinLinkChanges(changed, { upsert: [third, fourth], remove: [] })).toEqual({
    upsert: [LINK, third, fourth],
    remove: ["id9" as HostId],
  });
  expect([joinLinkChanges(null, changed), joinLinkChanges(changed, null), joinLinkChanges(null, null)]).toEqual([
    changed,
    changed,
    null,
  ]);
});

test("linkChanges() sees links that came and went, and applyLinkChanges() leads to the same", () => {
  const [third, fourth] = [
    { ...LINK, peerId: "id3" as HostId, peer: "h3" },
    { ...LINK, peerId: "id4" as HostId, peer: "h4", mtu: 1400 },
  ];
  expect(linkChanges([], [])).toBeNull();
  const changes = linkChanges([LINK, fourth], [third, { ...fourth, mtu: 1450 }]);
  expect(changes).toEqual({ upsert: [third, { ...fourth, mtu: 1450 }], remove: [LINK.peerId] });
  expect(applyLinkChanges([LINK, fourth], changes ?? { upsert: [], remove: [] })).toEqual([
    third,
    { ...fourth, mtu: 1450 },
  ]);
});

test("parseAgentMessage() takes links as they are sent and refuses what is none", () => {
  const message = { type: "links", links: [LINK] };
  expect(parseAgentMessage(JSON.stringify(message))).toEqual(message as never);
  for (const wrong of [{ lossPercent: 101 }, { mode: "carrier-pigeon" }, { rttMs: -1 }, { why: null }]) {
    const frame = JSON.stringify({ type: "links", links: [{ ...LINK, ...wrong }] });
    expect(() => parseAgentMessage(frame)).toThrow('Cannot read "links" message');
  }
});
