import { ownContainer } from "../container.ts";
import { EXIT, toMusterError } from "../errors.ts";
import { detect, openCatalog } from "../plan.ts";
import { checkAccess } from "./doctor/access.ts";
import { checkCatalog } from "./doctor/catalog.ts";
import { checkLine } from "./doctor/check.ts";
import { checkClock } from "./doctor/clock.ts";
import { checkContainer } from "./doctor/container.ts";
import { checkContent } from "./doctor/content.ts";
import { checkCoordinator } from "./doctor/coordinator.ts";
import { checkEngines } from "./doctor/engines.ts";
import { checkHardware } from "./doctor/hardware.ts";
import { checkMirrors } from "./doctor/mirrors.ts";
import { checkMount } from "./doctor/mount.ts";
import { checkProxy } from "./doctor/proxy.ts";
import { checkRegistries } from "./doctor/registries.ts";
import { checkVolume } from "./doctor/volume.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster doctor`: looks at everything a worker depends on; each line is ok, warn or fail, with what to do. */
export async function doctor(options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const [hardware, container, catalog] = await Promise.all([
    detect(config),
    ownContainer(),
    openCatalog(config).catch(toMusterError),
  ]);
  const found = await Promise.all([
    checkHardware(config, hardware),
    checkContainer(config, container, hardware),
    checkMount(config.modelCacheDir, container),
    checkVolume(config),
    checkContent(config),
    checkCatalog(config, catalog),
    checkProxy(config),
    checkMirrors(config),
    checkAccess(config, catalog),
    checkRegistries(config),
    checkCoordinator(config),
    checkEngines(config),
  ]);
  const checks = found.flat();
  checks.push(...checkClock(checks));
  const ok = checks.every(({ result }) => result !== "fail");
  print({ ok, checks }, options, () => checks.map(checkLine).join("\n"));
  return ok ? EXIT.ok : EXIT.failed;
}
