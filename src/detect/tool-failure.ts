import type { ToolFailure } from "./run-tool.ts";

const EXCERPT_LENGTH = 200;

/** What went wrong with a vendor tool, as one sentence for an operator. */
export function describeToolFailure(tool: string, failure: ToolFailure): string {
  if (failure.kind === "missing") return `${tool} is not installed here.`;
  if (failure.kind === "timeout") {
    return (
      `${tool} did not answer within ${failure.timeoutMs / 1000} s and was given up: the driver or a GPU hangs. ` +
      "Look at dmesg on the host; usually only a reboot of the host helps."
    );
  }
  const said = excerpt(`${failure.stderr}\n${failure.stdout}`);
  return `${tool} ${howItEnded(failure.exitCode)}${said === "" ? ", and said nothing" : `: ${said}`}`.replace(
    /[^.]$/,
    "$&.",
  );
}

function howItEnded(exitCode: number | null): string {
  if (exitCode === null) return "did not run to its end";
  return exitCode === 0 ? "did not answer as expected" : `failed with exit code ${exitCode}`;
}

/** The beginning of a tool's output, on one line and without control characters. */
function excerpt(output: string): string {
  const line = output.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length <= EXCERPT_LENGTH ? line : `${line.slice(0, EXCERPT_LENGTH)}…`;
}
