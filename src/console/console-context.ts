import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import type { StatusJson } from "../api/native/shapes.ts";
import { ApiFailure, type ApiClient } from "./api-client.ts";
import type { AppMark } from "./app-marks.ts";
import type { Connection, FeedClient } from "./feed-client.ts";
import type { FeedStore, FeedView } from "./feed-store.ts";
import type { NavigationStore } from "./navigation-store.ts";
import type { PageState } from "./page-state.ts";
import type { ThemeStore } from "./theme-choice.ts";

/** What main.tsx makes once and every component reads. */
export interface ConsoleParts {
  readonly store: FeedStore;
  readonly client: FeedClient;
  readonly api: ApiClient;
  readonly navigation: NavigationStore;
  readonly theme: ThemeStore;
}

export const ConsoleContext = createContext<ConsoleParts | null>(null);
export const MarksContext = createContext<ReadonlyMap<string, AppMark>>(new Map());

export function useParts(): ConsoleParts {
  const parts = useContext(ConsoleContext);
  if (parts === null) throw new Error("No ConsoleContext above this component");
  return parts;
}

export function useFeed(): FeedView {
  const { store } = useParts();
  return useSyncExternalStore(store.subscribe, store.view);
}

export function useConnection(): Connection {
  const { client } = useParts();
  return useSyncExternalStore(client.subscribe, client.connection);
}

export function usePageState(): PageState {
  const { navigation } = useParts();
  return useSyncExternalStore(navigation.subscribe, navigation.state);
}

export function useTheme(): "light" | "dark" {
  const { theme } = useParts();
  return useSyncExternalStore(theme.subscribe, theme.shown);
}

/** The clock, once per period, while a component that shows an age is on the page. */
export function useNowMs(periodMs: number): number {
  const [nowMs, setNowMs] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), periodMs);
    return () => clearInterval(timer);
  }, [periodMs]);
  return nowMs;
}

/** Something read from the API and read again when `key` changes. The last value stays while the next one is fetched. */
export function useReading<T>(key: string, read: () => Promise<T>): { value: T | null; failure: ApiFailure | null } {
  const [reading, setReading] = useState<{ value: T | null; failure: ApiFailure | null }>({
    value: null,
    failure: null,
  });
  useEffect(() => {
    let wanted = true;
    read().then(
      (value) => {
        if (wanted) setReading({ value, failure: null });
      },
      (error: unknown) => {
        if (!(error instanceof ApiFailure)) throw error;
        if (wanted) setReading((last) => ({ value: last.value, failure: error }));
      },
    );
    return () => {
      wanted = false;
    };
    // `read` is a new function with every render; `key` says when its answer may differ.
  }, [key]);
  return reading;
}

/** Settings of the cluster change with a new server only, so they are read once per connection. */
export function useSettings(): StatusJson["settings"] | null {
  const { api } = useParts();
  const connection = useConnection();
  return useReading(connection.state === "live" ? "live" : "not live", () => api.status()).value?.settings ?? null;
}

export type ActionState =
  | { readonly state: "idle" }
  | { readonly state: "pending" }
  | { readonly state: "done" }
  | { readonly state: "failed"; readonly failure: ApiFailure };

export interface ActionControl {
  readonly action: ActionState;
  readonly run: (act: () => Promise<unknown>) => void;
  readonly clear: () => void;
}

/** Runs one action at a time: while one is pending another call does nothing, so a double click acts once. */
export function useAction(): ActionControl {
  const [action, setAction] = useState<ActionState>({ state: "idle" });
  const run = (act: () => Promise<unknown>): void => {
    if (action.state === "pending") return;
    setAction({ state: "pending" });
    act().then(
      () => setAction({ state: "done" }),
      (error: unknown) => {
        if (!(error instanceof ApiFailure)) throw error;
        setAction({ state: "failed", failure: error });
      },
    );
  };
  return { action, run, clear: () => setAction({ state: "idle" }) };
}
