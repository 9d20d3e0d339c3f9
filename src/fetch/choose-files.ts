import { posix } from "node:path";
import { MusterError } from "../errors.ts";
import type { FileSpec, Variant } from "../model.ts";
import { sizeOf } from "./file-sizes.ts";

/** What an engine needs of a repository, and what it can do without: the same weights in other formats, copies, pictures. */

const WEIGHTS: Record<string, RegExp> = {
  safetensors: /\.safetensors$/i,
  gguf: /\.gguf$/i,
  pickle: /(\.(bin|pth|pt|ckpt|pkl)|\.bin\.\d+)$/i,
};
/** Weights of frameworks that none of our engines runs. */
const OTHER_WEIGHTS = /\.(h5|msgpack|ot|onnx|onnx_data|tflite|mlmodel|mlpackage|npz|engine|plan|nemo|llamafile)$/i;
const OTHER_FOLDERS = /(^|\/)(onnx|openvino|coreml|tflite|original|metal|mlx|runs|\.git)\//i;
const COPIES = /(^|\/)consolidated[^/]*\.(safetensors|pth)$/i;
/** What training left behind, pickles all of them. */
const TRAINING = /(^|\/)(training_args|optimizer|scheduler|scaler|rng_state[^/]*)\.(bin|pt|pth)$/i;
const NOT_MODEL = /(^|\/)\.gitattributes$|\.(png|jpe?g|gif|webp|svg|mp4|mov|webm|mp3|wav|pdf|zip|tar|gz|7z)$/i;
const INDEX = /\.index\.json$/i;

/** Path and size decide; digests need not be known yet. */
type Named = Pick<FileSpec, "path" | "size">;

export interface ChosenFiles<File extends Named> {
  files: File[];
  /** Bytes of those that hold weights. */
  weightsBytes: number;
  projectorBytes: number;
}

/** The files to fetch. `include` and `exclude` win over the built-in choice. Throws PICKLE_REFUSED and FILE_NOT_FOUND. */
export function chooseFiles<File extends Named>(all: readonly File[], variant: Variant): ChosenFiles<File> {
  const kept = all.filter(({ path }) => !matchesAny(path, variant.exclude));
  const files =
    variant.include.length > 0
      ? kept.filter(({ path }) => matchesAny(path, variant.include))
      : builtInChoice(kept, variant);
  if (files.length === 0) {
    throw new MusterError(
      "FILE_NOT_FOUND",
      `${variant.location} has no file that include ${JSON.stringify(variant.include)} and exclude ${JSON.stringify(variant.exclude)} leave.`,
      {
        hint: "Correct include and exclude of the variant in the catalog.",
      },
    );
  }
  const weights = files.filter(({ path }) => isWeights(path));
  const projector = weights.filter(({ path }) => /mmproj/i.test(path));
  return { files, weightsBytes: sizeOf(weights) - sizeOf(projector), projectorBytes: sizeOf(projector) };
}

function builtInChoice<File extends Named>(files: File[], variant: Variant): File[] {
  const unwanted = [OTHER_WEIGHTS, OTHER_FOLDERS, TRAINING, NOT_MODEL];
  const candidates = files.filter(({ path }) => !unwanted.some((pattern) => pattern.test(path)));
  const others = candidates.filter(({ path }) => !isWeights(path) && !INDEX.test(path));
  const ofFormat = (format: string) => candidates.filter(({ path }) => WEIGHTS[format]?.test(path));
  if (variant.format === "gguf") return [...others, ...chooseGguf(ofFormat("gguf"), variant)];
  const safetensors = ofFormat("safetensors").filter(({ path }) => !COPIES.test(path));
  // A repository may hold nothing but the consolidated file; then that is the model.
  const safe = safetensors.length > 0 ? safetensors : ofFormat("safetensors");
  const indexes = (pattern: RegExp) => candidates.filter(({ path }) => INDEX.test(path) && pattern.test(path));
  if (safe.length > 0 && variant.format !== "pickle") return [...others, ...safe, ...indexes(/safetensors/i)];
  const pickles = ofFormat("pickle").filter(({ path }) => !COPIES.test(path));
  if (pickles.length === 0) return [...others, ...chooseGguf(ofFormat("gguf"), variant), ...indexes(/./)];
  if (variant.allowPickle) return [...others, ...pickles, ...indexes(/\.bin\./i)];
  throw new MusterError(
    "PICKLE_REFUSED",
    `${variant.location} has its weights only as pickles (${pickles[0]?.path}), and loading a pickle can run code.`,
    {
      hint: 'Choose a repository or revision with safetensors, or set "allowPickle": true on the variant in the catalog if you trust its publisher.',
    },
  );
}

/** One quantization of a repository that holds many: the one the variant names, else the smallest of the usual ones. */
function chooseGguf<File extends Named>(files: File[], variant: Variant): File[] {
  const projectors = files.filter(({ path }) => /mmproj/i.test(path));
  const weights = files.filter((file) => !projectors.includes(file));
  const groups = new Map<string, File[]>();
  for (const file of weights) {
    const name = file.path.replace(/-\d{5}-of-\d{5}(?=\.gguf$)/i, "");
    groups.set(name, [...(groups.get(name) ?? []), file]);
  }
  const names = [...groups.keys()];
  const asked = variant.quantization?.toLowerCase();
  const chosen = asked
    ? names.find((name) => quantizationOf(name) === asked)
    : (names.find((name) => quantizationOf(name) === "q4_k_m") ??
      names.toSorted((a, b) => sizeOf(groups.get(a) ?? []) - sizeOf(groups.get(b) ?? []))[0]);
  if (!chosen && names.length > 0) {
    throw new MusterError(
      "FILE_NOT_FOUND",
      `${variant.location} has no GGUF file with quantization ${variant.quantization}.`,
      {
        hint: `Set the variant's quantization to one of: ${names.map(quantizationOf).join(", ")}.`,
      },
    );
  }
  return [...(chosen ? (groups.get(chosen) ?? []) : []), ...projectors.slice(0, 1)];
}

/** By the name of a GGUF file. */
export function quantizationOf(name: string): string {
  return (
    /[-._](i?q\d\w*|b?f16|f32|fp16|fp32|mxfp4\w*)\.gguf$/i.exec(name)?.[1]?.toLowerCase() ??
    posix.basename(name).toLowerCase()
  );
}

/** Files whose loading can run code: weights, and whatever else Python's tools write that way. */
export function isPickle(path: string): boolean {
  return WEIGHTS.pickle!.test(path) || /\.(pickle|joblib|dill|pck)$/i.test(path);
}

function isWeights(path: string): boolean {
  return Object.values(WEIGHTS).some((pattern) => pattern.test(path));
}

/** A pattern without a slash is matched against the file's name in any folder, one with a slash against the whole path. */
function matchesAny(path: string, patterns: string[]): boolean {
  return patterns.some((pattern) =>
    posix.matchesGlob(pattern.includes("/") ? path : posix.basename(path), pattern.replace(/\/$/, "/**")),
  );
}
