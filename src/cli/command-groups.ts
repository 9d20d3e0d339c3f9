import type { Command } from "commander";

/** Under which headings `muster --help` shows the commands; those that are not named are among the others. */
const GROUPS = {
  "The worker:": ["start", "status", "health", "doctor", "warm"],
  "Its jobs:": ["run", "jobs", "pause", "resume", "drain"],
  "Fetching:": ["plan", "sync", "import-gguf", "push"],
  "The volume:": [
    "list",
    "show",
    "du",
    "verify",
    "remove",
    "prune",
    "archive",
    "export",
    "import",
    "audit",
    "bench-disk",
  ],
  "Revisions:": ["outdated", "update", "lock", "pin", "unpin"],
  "Catalog and fleet:": ["catalog", "coordinator"],
};
export const OTHERS = "Others:";

export function groupCommands(program: Command): void {
  for (const [heading, names] of Object.entries(GROUPS))
    for (const command of program.commands) if (names.includes(command.name())) command.helpGroup(heading);
}
