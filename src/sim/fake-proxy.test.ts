import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { FakeProxy } from "./fake-proxy.ts";
import { proxyContract } from "./proxy.contract.ts";

proxyContract("FakeProxy", () => ({
  proxy: new FakeProxy({ clock: systemClock }),
  settings: defaultProxySettings(proxyPaths("/run/apollo/ingress")),
}));
