#!/usr/bin/env bash
# What action.yml runs: turns its inputs into the command's flags. A test runs this very file.
set -euo pipefail

args=(deploy "$INPUT_SERVICE" --env "$INPUT_ENVIRONMENT" --file "$INPUT_FILE")
# Not the run's number: a job that is run again must find the rollout that it began.
args+=(--key "${INPUT_KEY:-$GITHUB_REPOSITORY_ID/$GITHUB_SHA/$INPUT_SERVICE/$INPUT_ENVIRONMENT}")
if [ -n "$INPUT_TAG" ]; then args+=(--tag "$INPUT_TAG"); fi
while IFS= read -r image; do
  if [ -n "$image" ]; then args+=(--image "$image"); fi
done <<<"$INPUT_IMAGES"
while IFS= read -r name; do
  if [ -n "$name" ]; then args+=(--use-config-map "$name"); fi
done <<<"$INPUT_CONFIG_MAPS"
while IFS= read -r name; do
  if [ -n "$name" ]; then args+=(--use-secret "$name"); fi
done <<<"$INPUT_SECRETS"
if [ "$INPUT_HOTFIX" = true ]; then args+=(--hotfix); fi
case "$INPUT_WAIT" in
  true) args+=(--wait) ;;
  held) args+=(--wait=held) ;;
  false) ;;
  *)
    echo "slipway: the input wait is \"$INPUT_WAIT\": write true, held or false" >&2
    exit 2
    ;;
esac
if [ "$INPUT_WAIT" != false ]; then
  args+=(--wait-timeout "$INPUT_WAIT_TIMEOUT" --on-cancel "$INPUT_ON_CANCEL")
fi
args+=(--summary "$GITHUB_STEP_SUMMARY" --outputs "$GITHUB_OUTPUT")

# `exec`: a cancelled job signals this process alone.
exec node "$GITHUB_ACTION_PATH/dist/bin/slipway.js" "${args[@]}"
