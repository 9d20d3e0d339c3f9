import { setting } from "./setting.ts";
import { bandwidth, flag, longDuration, number, path } from "./values.ts";

/** Where models stand, how much of the disk they may take, and how they are checked. */
export const volumeSettings = {
  MODEL_CACHE_DIR: setting("Volume", path, {
    description: "The shared volume of models.",
    allowed: "a path",
    otherwise: "MODELS_DIR, else `/models`",
  }),
  MODELS_DIR: setting("Volume", path, {
    description: "Older name of MODEL_CACHE_DIR, used on hosts.",
    allowed: "a path",
    otherwise: "none",
  }),
  HF_HOME: setting("Volume", path, {
    description: "Home of the Hugging Face cache.",
    allowed: "a path",
    otherwise: "`$MODEL_CACHE_DIR/huggingface`",
  }),
  HF_HUB_CACHE: setting("Volume", path, {
    description: "The Hugging Face hub cache itself, which Python libraries and vLLM read.",
    allowed: "a path",
    otherwise: "`$HF_HOME/hub`",
  }),
  TRANSFORMERS_CACHE: setting("Volume", path, {
    description:
      "Older name of HF_HUB_CACHE. It is not followed (models are kept once, in HF_HUB_CACHE); a different value is warned of.",
    allowed: "a path",
    otherwise: "none",
  }),
  LOCAL_DIRS: setting("Volume", flag, {
    description:
      "Show Hugging Face models as plain folders too (`/models/acme-tiny/…`, hard links to the same bytes), for what knows no hub cache.",
    allowed: "true or false",
    otherwise: "`false`",
  }),
  OLLAMA_MODELS: setting("Volume", path, {
    description: "Ollama's model store.",
    allowed: "a path",
    otherwise: "`$MODEL_CACHE_DIR/ollama`",
  }),
  VLLM_CACHE: setting("Volume", path, {
    description: "vLLM's compile cache (handed on as VLLM_CACHE_ROOT).",
    allowed: "a path",
    otherwise: "`$MODEL_CACHE_DIR/vllm`",
  }),
  MIN_FREE_GB: setting("Volume", number, {
    description: "Gigabytes of the volume that fetching leaves free.",
    allowed: "a number, 0 or more",
    otherwise: "1 GB, or 2 % of a smaller volume",
  }),
  MAX_CACHE_GB: setting("Volume", number, {
    description:
      "Gigabytes that the models on the volume may take altogether; a fetch that would exceed them is refused.",
    allowed: "a number, 0 or more",
    otherwise: "as much as the volume has",
  }),
  MODELS_LOCK: setting("Volume", path, {
    description:
      "The lock: which revision of each model is fetched where MODELS_LOCKED is set; `muster lock` writes it.",
    allowed: "a path",
    otherwise: "`$MODEL_CACHE_DIR/models.lock.json`",
  }),
  MODELS_LOCKED: setting("Volume", flag, {
    description:
      "Fetch exactly what MODELS_LOCK names, by `start` as by `sync`; what it does not name is not fetched. It is read anew for each fetch.",
    allowed: "true or false",
    otherwise: "`false`",
  }),
  KEEP_REVISIONS: setting(
    "Volume",
    number.refine((value) => Number.isInteger(value) && value <= 100),
    {
      description: "Earlier revisions of each model that `muster update` and `muster prune` leave on the volume.",
      allowed: "0 to 100",
      otherwise: "`1`",
    },
  ),
  VERIFY_RATE: setting("Volume", bandwidth, {
    description: "Most that checking what is stored takes of the disk, of all threads of this process together.",
    allowed: "a rate such as 200MB/s, at least 10kB/s",
    otherwise: "50 MB/s for the scrub, no limit for `muster verify`",
  }),
  SCRUB_INTERVAL: setting("Volume", longDuration, {
    description:
      "How often the agent checks every file on the volume against its record, in the background; one worker at a time does it. `0` for never.",
    allowed: "a duration such as 7d or 36h, or 0",
    otherwise: "`0`",
  }),
};
