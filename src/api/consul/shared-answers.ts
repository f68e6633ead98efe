/**
 * A change wakes everybody who waits for it, and most of them asked the same: the answer is rendered for the first of them, and the
 * others get the very same one. It holds until anything changes.
 */
import type { HttpRequest, HttpResponse } from "../../platform/ports/http.ts";
import type { Grants } from "../../discovery/registry/acl/grants.ts";
import { AGENT_HEADER } from "../../cluster/passed-on.ts";
import type { Caller, ConsulBackend } from "./backend.ts";

/** Different questions that one change answers, as a rule few; more are rendered one by one. */
const QUESTIONS_MAX = 64;
/** What is not part of the question: how long to wait for which answer, and who asks. */
const NOT_ASKED: ReadonlySet<string> = new Set(["index", "wait", "token"]);

/** What of a call its answer depends on. */
interface Asked {
  readonly backend: ConsulBackend;
  readonly caller: Caller;
  readonly request: HttpRequest;
}

interface Rendered {
  readonly grants: Grants;
  readonly answer: HttpResponse;
  /** Something was left out because of the grants. */
  readonly filtered: boolean;
}

/** A call, as far as its answer depends on it. */
interface Asked {
  readonly backend: ConsulBackend;
  readonly caller: Caller;
  readonly request: HttpRequest;
}

export class SharedAnswers {
  #moment = "";
  readonly #rendered = new Map<string, Rendered>();

  /** What `render` gives for that question at that index, or gave a moment ago for somebody with the same rights. */
  once({ backend, caller }: Asked, question: string, render: () => HttpResponse): HttpResponse {
    const { registry } = backend.parts;
    const moment = `${registry.published} ${registry.watches.floor} ${backend.lastContactMs?.() ?? 0} ${backend.datacenter()}`;
    if (moment !== this.#moment) this.#rendered.clear();
    this.#moment = moment;
    const known = this.#rendered.get(question);
    if (known?.grants.isSameAs(caller.grants) === true) {
      if (known.filtered) caller.grants.noteDenied();
      return known.answer;
    }
    const answer = render();
    const { grants } = caller;
    if (this.#rendered.size < QUESTIONS_MAX)
      this.#rendered.set(question, { grants, answer, filtered: grants.hasDenied });
    return answer;
  }
}

/** Equal for requests whose answers are equal, given equal rights. The host that a request came by is what `_agent` means in it. */
export function questionOf({ request }: Pick<Asked, "request">): string {
  const { query } = request;
  const asked = query.names().filter((name) => !NOT_ASKED.has(name));
  return JSON.stringify([request.path, asked.map((name) => [name, query.all(name)]), request.header(AGENT_HEADER)]);
}
