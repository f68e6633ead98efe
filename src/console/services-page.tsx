import type { EndpointJson, ServiceJson } from "../api/native/shapes.ts";
import { compareNatural } from "./compare-natural.ts";
import { useFeed, usePageState, useSettings } from "./console-context.ts";
import { CopyText } from "./copy-text.tsx";
import { EmptyNote } from "./empty-note.tsx";
import { formatInstanceName } from "./format-quantity.ts";
import { hostHref, instanceHref } from "./instance-text.ts";
import { StateWord, type Tone } from "./marks.tsx";
import { matchesSearch, parseSearch, type SearchFields } from "./search-query.ts";

const ENDPOINT_TONE: Readonly<Record<EndpointJson["health"], Tone>> = {
  passing: "good",
  warning: "warn",
  critical: "bad",
};

export function ServicesPage() {
  const feed = useFeed();
  const { query } = usePageState();
  const domain = useSettings()?.dnsDomain ?? "consul";
  const terms = parseSearch(query);
  const services = feed.services.filter((service) => matchesSearch(terms, serviceSearch(service)));
  return (
    <div className="page">
      <h1>Services</h1>
      {feed.services.length === 0 ? (
        <EmptyNote
          text="No service yet. Apps and containers with SERVICE_NAME are registered by themselves; deploy one:"
          command="apollo app create FILE"
        />
      ) : null}
      {services.map((service) => (
        <ServiceCard key={service.name} service={service} domain={domain} />
      ))}
      {feed.services.length > 0 && services.length === 0 ? <EmptyNote text={`No service matches "${query}".`} /> : null}
    </div>
  );
}

function ServiceCard({ service, domain }: { readonly service: ServiceJson; readonly domain: string }) {
  const passing = service.endpoints.filter((endpoint) => endpoint.health !== "critical").length;
  const total = service.endpoints.length;
  const tone: Tone = passing === total && total > 0 ? "good" : passing > 0 ? "warn" : "bad";
  return (
    <section className="card" data-service={service.name} aria-label={`Service ${service.name}`}>
      <div className="card-head">
        <h2>{service.name}</h2>
        <StateWord tone={tone}>{`${passing} of ${total} in DNS`}</StateWord>
        <CopyText text={`${service.name}.service.${domain}`} what="DNS name" />
        {service.tags.map((tag) => (
          <code key={tag} className="tag">
            {tag}
          </code>
        ))}
      </div>
      {service.routes.length === 0 ? null : (
        <p className="routes">
          <span className="quiet">From outside:</span>{" "}
          {service.routes.map((route) => (
            <code key={route}>{route}</code>
          ))}
        </p>
      )}
      <div className="table-wrap">
        <table>
          <caption className="visually-hidden">Endpoints of {service.name}</caption>
          <thead>
            <tr>
              <th scope="col">Address</th>
              <th scope="col">Health</th>
              <th scope="col">Host</th>
              <th scope="col">Tags</th>
              <th scope="col">Instance</th>
            </tr>
          </thead>
          <tbody>
            {sortEndpoints(service.endpoints).map((endpoint) => (
              <EndpointRow key={endpoint.id} endpoint={endpoint} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** By host, then by address as people count. */
function sortEndpoints(endpoints: readonly EndpointJson[]): readonly EndpointJson[] {
  const place = (one: EndpointJson): string => `${one.host} ${one.address}:${one.port}`;
  return endpoints.toSorted((a, b) => compareNatural(place(a), place(b)));
}

function EndpointRow({ endpoint }: { readonly endpoint: EndpointJson }) {
  return (
    <tr data-endpoint={`${endpoint.address}:${endpoint.port}`}>
      <th scope="row">
        <CopyText text={`${endpoint.address}:${endpoint.port}`} what="address" />
        {endpoint.protocol === "tcp" ? null : <span className="quiet"> {endpoint.protocol}</span>}
      </th>
      <td>
        <StateWord tone={ENDPOINT_TONE[endpoint.health]}>{endpoint.health}</StateWord>
      </td>
      <td>
        <a href={hostHref(endpoint.host)}>{endpoint.host}</a>
      </td>
      <td>
        {endpoint.tags.map((tag) => (
          <code key={tag} className="tag">
            {tag}
          </code>
        ))}
      </td>
      <td>
        {endpoint.instance === null ? (
          <span className="wrap" title="A container that no app started">
            {endpoint.container}
          </span>
        ) : (
          <a href={instanceHref(endpoint.instance)} title={endpoint.instance}>
            <code>{formatInstanceName(endpoint.instance)}</code>
          </a>
        )}
      </td>
    </tr>
  );
}

function serviceSearch(service: ServiceJson): SearchFields {
  return {
    name: service.name,
    tag: [...service.tags, ...service.endpoints.flatMap((endpoint) => endpoint.tags)],
    address: service.endpoints.map((endpoint) => `${endpoint.address}:${endpoint.port}`),
    host: service.endpoints.map((endpoint) => endpoint.host),
    health: service.endpoints.map((endpoint) => endpoint.health),
    route: service.routes,
  };
}
