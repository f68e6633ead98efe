import { expect, test } from "bun:test";
import { fakeRequest } from "../../sim/fake-request.ts";
import { createNativeHandler } from "./handler.ts";
import { renderDnsMetrics, renderLinkMetrics } from "./render-metrics.ts";
import type { NativeOptions } from "./handler.ts";
import type { LinkJson } from "./shapes.ts";

const LINK: LinkJson = {
  host: "h1",
  peer: "h2",
  mode: "direct",
  via: null,
  why: "192.0.2.2 is on the same network, at eth0",
  up: true,
  rttMs: 0.31,
  lossPercent: 2,
  mtu: 1500,
  txBytes: null,
  rxBytes: null,
  encryption: "none",
  sinceMs: 0,
};
const COUNTS = new Map([["h1", { answered: 40, passed: 2 }]]);
const LINKS: readonly LinkJson[] = [
  LINK,
  { ...LINK, host: "h2", peer: "h1", mode: "none", up: null, rttMs: null, mtu: null },
];

test("renderLinkMetrics() leaves out what is not known and says each mode as 0 or 1", () => {
  const text = renderLinkMetrics(LINKS);
  expect(text).toContain('# TYPE apollo_link_up gauge\napollo_link_up{host="h1",peer="h2"} 1\n# HELP');
  expect(text).toContain('apollo_link_rtt_seconds{host="h1",peer="h2"} 0.00031\n');
  expect(text).toContain('apollo_link_loss_ratio{host="h2",peer="h1"} 0.02\n');
  expect(text).not.toContain('apollo_link_mtu_bytes{host="h2"');
  expect(text).toContain('apollo_link_mode{host="h2",peer="h1",mode="none"} 1\n');
  expect(text).toContain('apollo_link_mode{host="h1",peer="h2",mode="vxlan"} 0\n');
  const counted = renderLinkMetrics([{ ...LINK, txBytes: 12, rxBytes: 0 }, ...LINKS]);
  expect(counted).toContain(
    '# TYPE apollo_link_sent_bytes_total counter\napollo_link_sent_bytes_total{host="h1",peer="h2"} 12\n# HELP',
  );
  expect(counted).toContain('apollo_link_received_bytes_total{host="h1",peer="h2"} 0\n# HELP');
  const odd = renderLinkMetrics([{ ...LINK, peer: 'a"b\\c\nd' }]);
  expect(odd).toContain('apollo_link_up{host="h1",peer="a\\"b\\\\c\\nd"} 1\n');
});

test("renderDnsMetrics() counts what the kernel answered and what it left to the agent, host by host", () => {
  const text = renderDnsMetrics(COUNTS);
  expect(text).toContain(
    '# TYPE apollo_dns_kernel_answers_total counter\napollo_dns_kernel_answers_total{host="h1"} 40\n',
  );
  expect(text).toContain('\napollo_dns_agent_questions_total{host="h1"} 2\n');
  expect(renderDnsMetrics(new Map())).not.toContain("host=");
});

test("GET /api/links gives all links or one host's, GET /api/metrics the same as text", async () => {
  const services = { links: () => LINKS, dnsCounts: () => COUNTS, hosts: () => [{ name: "h1" }, { name: "h2" }] };
  const options = { apps: {}, services, authorize: () => ({ kind: "admin" }) } as unknown as NativeOptions;
  const handle = createNativeHandler(options);
  const ask = async (path: string): Promise<readonly [number, string]> => {
    const answer = await handle(fakeRequest("GET", path));
    if (!("status" in answer)) throw new Error("It is a socket");
    return [answer.status, typeof answer.body === "string" ? answer.body : ""];
  };
  expect(await ask("/api/links")).toEqual([200, JSON.stringify(LINKS)]);
  expect(await ask("/api/links?host=h1")).toEqual([200, JSON.stringify([LINK])]);
  expect((await ask("/api/links?host=h9"))[0]).toBe(404);
  expect(await ask("/api/metrics")).toEqual([200, renderLinkMetrics(LINKS) + renderDnsMetrics(COUNTS)]);
});
