#!/bin/sh
# Models on a host, by muster: MODELS_DIR is the folder that workers mount as /models.
# usage: scripts/manage-ai-models.sh setup | download NAME… | list | status | cleanup | verify | remove NAME
set -eu
MODELS_DIR=${MODELS_DIR:-/opt/ai-models}
MUSTER_IMAGE=${MUSTER_IMAGE:-}
# The user of the images.
OWNER=${OWNER:-1000:1000}

usage() {
  cat <<TEXT
usage: manage-ai-models.sh COMMAND
  setup            make $MODELS_DIR for the workers (once, as root)
  download NAME…   fetch the models of worker types (gpu-worker, ocr, …, all), or single models
  list             what is there
  status           what is there, the room that is left, and what a running worker does
  cleanup          remove what no model needs (muster prune)
  verify           check the digests of what is there (muster verify)
  remove NAME      remove a model (muster remove)

MODELS_DIR is $MODELS_DIR. muster is the one on the PATH or beside this script; with MUSTER_IMAGE=… the one of that
image (docker, or podman). PLAN_GPU_MEMORY_GB names the GPUs of the workers where this host has none.
TEXT
}

muster() {
  if [ -n "$MUSTER_IMAGE" ]; then
    engine=$(command -v docker || command -v podman) || fail "neither docker nor podman is here; unset MUSTER_IMAGE"
    "$engine" run --rm --network host --volume "$MODELS_DIR:/models" \
      --env HF_TOKEN --env HF_ENDPOINT --env OLLAMA_REGISTRY --env PLAN_GPU_MEMORY_GB --env LOG_LEVEL \
      --env HTTP_PROXY --env HTTPS_PROXY --env NO_PROXY "$MUSTER_IMAGE" muster "$@"
  else
    beside=$(dirname "$(readlink -f "$0")")/muster
    [ -x "$beside" ] || beside=$(command -v muster) || fail "muster is not installed; set MUSTER_IMAGE to run it from an image"
    MODEL_CACHE_DIR=$MODELS_DIR "$beside" "$@"
  fi
}

fail() {
  echo "manage-ai-models.sh: $1" >&2
  exit 78
}

[ $# -gt 0 ] || { usage >&2; exit 64; }
command=$1
shift
case $command in
  setup)
    mkdir -p "$MODELS_DIR"
    chown "$OWNER" "$MODELS_DIR"
    echo "$MODELS_DIR belongs to $OWNER. Next: $0 download all"
    ;;
  download)
    [ $# -gt 0 ] || { usage >&2; exit 64; }
    muster sync --prefetch "$@"
    ;;
  list) muster list "$@" ;;
  status)
    muster list
    df -h "$MODELS_DIR"
    muster status 2>/dev/null || echo "No worker runs here outside of containers; those are asked with: docker exec WORKER muster status"
    ;;
  cleanup) muster prune "$@" ;;
  verify) muster verify "$@" ;;
  remove)
    [ $# -gt 0 ] || { usage >&2; exit 64; }
    muster remove "$@"
    ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 64
    ;;
esac
