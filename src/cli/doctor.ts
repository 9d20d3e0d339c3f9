import { EXIT } from "../errors.ts";
import { checkContent } from "./check-content.ts";
import { checkMirrors } from "./check-mirrors.ts";
import {
  type Check,
  checkCatalog,
  checkCoordinator,
  checkEngines,
  checkHardware,
  checkRegistries,
  checkVolume,
} from "./checks.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster doctor`: looks at everything a worker depends on; each line is ok, warn or fail, with what to do. */
export async function doctor(options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const checks: Check[] = (
    await Promise.all(
      [
        checkHardware,
        checkVolume,
        checkContent,
        checkCatalog,
        checkMirrors,
        checkRegistries,
        checkCoordinator,
        checkEngines,
      ].map((check) => check(config)),
    )
  ).flat();
  print({ ok: checks.every(({ result }) => result !== "fail"), checks }, options, () =>
    checks
      .map(
        ({ name, result, found, hint }) =>
          `${result.padEnd(5)}${name.padEnd(13)}${found}${hint && result !== "ok" ? `\n${" ".repeat(18)}→ ${hint}` : ""}`,
      )
      .join("\n"),
  );
  return checks.some(({ result }) => result === "fail") ? EXIT.failed : EXIT.ok;
}
