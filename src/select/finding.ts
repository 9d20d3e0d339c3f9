/** What is wrong or odd in a catalog that is of the right form. */
export interface Finding {
  /** `fail`: something there can never work; `warn`: it works, but hardly as it was meant. */
  level: "fail" | "warn";
  /** In the file. */
  path: PropertyKey[];
  /** Where the path alone does not tell. */
  line?: number;
  /** What is so; no full stop. */
  found: string;
  /** What to do, a sentence. */
  hint: string;
}
