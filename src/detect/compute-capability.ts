/** Architectures with one compute capability for every product. */
const byArchitecture: Record<string, string> = { turing: "7.5", "ada lovelace": "8.9", hopper: "9.0" };

/**
 * Products by name, the first match wins; for drivers that give no architecture, and for architectures with several
 * compute capabilities. Names are of the form "NVIDIA A100-SXM4-40GB", "GeForce GTX 1070 Ti", "Quadro P400".
 */
const byProduct: [RegExp, string][] = [
  [/\bGB10\b/, "12.1"],
  [/\bG?B300\b/, "10.3"],
  [/\bG?B200\b/, "10.0"],
  [/\bRTX 50[5-9]0|\bRTX PRO \d+.*Blackwell/, "12.0"],
  [/\b(GH|H)(20|100|200|800)\b/, "9.0"],
  [/\bL(2|4|20|40S?)\b|\bRTX 40[5-9]0|\bRTX \d{4}.* Ada\b/, "8.9"],
  [/\bOrin\b/, "8.7"],
  [/\bA(100|800|30)X?\b|\bCMP 170HX\b/, "8.0"],
  [/\bA(2|10[GM]?|16|40)\b|\bRTX 30[5-9]0|\bRTX A\d{3,4}\b/, "8.6"],
  [/\bT4G?\b|\bRTX 20[678]0|\bGTX 16[356]0|\bQuadro RTX \d{4}\b|\bTITAN RTX\b/, "7.5"],
  [/\bXavier\b/, "7.2"],
  [/\bV100S?\b|\bTITAN V\b|\bQuadro GV100\b/, "7.0"],
  [/\bP100\b|\bQuadro GP100\b/, "6.0"],
  [/\bGTX 10[5-8]0|\bTesla P(4|6|40)\b|\bQuadro P\d{3,4}\b|\bTITAN Xp\b/, "6.1"],
];

/** The CUDA compute capability of a product, where its name or architecture settles it; null otherwise. */
export function deriveComputeCapability(name: string, architecture: string | null): string | null {
  const family = architecture?.toLowerCase() ?? "";
  const settled = byArchitecture[family] ?? byProduct.find(([pattern]) => pattern.test(name))?.[1];
  if (settled !== undefined) return settled;
  // Every Ampere product that is not named above carries a GA10x chip.
  return family === "ampere" ? "8.6" : null;
}
