import { appendFile, readFile } from "node:fs/promises";
import { writeFileDurably } from "../../store/write-durably.ts";

/** How far an export is: bytes of the tar, bytes of what they were packed to, and the file that the last ones were read from. */
export interface ExportPoint {
  tar: number;
  written: number;
  identity: string;
}

export const NO_IDENTITY = "-";

/** Points from which an export that was killed can go on: all before them is on the disk. */
export class ExportJournal {
  readonly #path: string;
  readonly #header: string;
  readonly points: ExportPoint[] = [];
  /** Everything is written, to so many parts, and only the names are not given yet; null before. */
  whole: number | null = null;

  private constructor(path: string, header: string) {
    this.#path = path;
    this.#header = header;
  }

  /** `what`: all that the bytes depend on. The journal of another export is begun anew. */
  static async open(path: string, what: string): Promise<ExportJournal> {
    const header = `muster-export 1 ${what}\n`;
    const journal = new ExportJournal(path, header);
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.startsWith(header)) journal.#read(text.slice(header.length));
    else await journal.#begin();
    return journal;
  }

  async note(point: ExportPoint): Promise<void> {
    this.points.push(point);
    await appendFile(this.#path, `${point.tar} ${point.written} ${point.identity}\n`);
  }

  async noteWhole(parts: number): Promise<void> {
    await appendFile(this.#path, `whole ${parts}\n`);
    this.whole = parts;
  }

  /** Goes back to a point, and begins anew where that is null. */
  async goBack(to: ExportPoint | null): Promise<void> {
    this.points.splice(to ? this.points.indexOf(to) + 1 : 0);
    await this.#begin();
  }

  async #begin(): Promise<void> {
    const lines = this.points.map(({ tar, written, identity }) => `${tar} ${written} ${identity}\n`);
    await writeFileDurably(this.#path, `${this.#header}${lines.join("")}`);
  }

  #read(text: string): void {
    // The last piece is either empty or a line that was torn by a kill.
    for (const line of text.split("\n").slice(0, -1)) {
      const [, tar, written, identity = ""] = /^(\d+) (\d+) (\S+)$/.exec(line) ?? [];
      if (tar !== undefined) this.points.push({ tar: Number(tar), written: Number(written), identity });
      const [, parts] = /^whole (\d+)$/.exec(line) ?? [];
      if (parts !== undefined) this.whole = Number(parts);
    }
  }
}
