#!/bin/sh
# Fetches models ahead of time, without a coordinator and without Ollama or vLLM running. Exit code 0: all is on the volume.
#   docker run --rm -v /data/ai-models:/models IMAGE /usr/local/bin/download-models.sh all
set -eu

usage() {
  cat <<'TEXT'
usage: download-models.sh TYPE...
  gpu-worker | ocr | embedding | vllm | cpu-worker | all     what workers of that type run; all: of every type
  or any other worker type, or single models, of the catalog

Where no GPU is seen, models are chosen for one of 24 GB; -e PLAN_GPU_MEMORY_GB=12 (or 80,80 for two) names others.
-e HF_TOKEN_FILE=… for gated models. What is there already is not fetched again; an interrupted run goes on.
The log is /var/log/model-download.log as well (LOG_FILE).
TEXT
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 64 ;;
esac
if [ $# -eq 0 ] && [ -z "${WORKER_TYPE:-}" ]; then
  usage >&2
  exit 64
fi
exec muster sync --prefetch "$@"
