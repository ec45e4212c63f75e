#!/bin/sh
# A job in plain shell: reports progress, saves a checkpoint a step, leaves a result.
# A job that is resumed finds its checkpoint again and goes on counting from there.
set -eu

name=${1:-world}
checkpoints=${SYNOR_CHECKPOINT_DIR:-./checkpoints}
output=${SYNOR_OUTPUT_DIR:-./output}
progress=${SYNOR_PROGRESS:-/dev/null}
steps=3
if [ -r "${SYNOR_HYPERPARAMETERS:-}" ]; then
    found=$(sed -n 's/.*"steps"[[:space:]]*:[[:space:]]*\([0-9][0-9]*\).*/\1/p' "$SYNOR_HYPERPARAMETERS")
    steps=${found:-$steps}
fi
mkdir -p "$checkpoints" "$output"

stop=no
trap 'stop=yes' TERM

step=0
if [ -r "$checkpoints/step" ]; then
    step=$(cat "$checkpoints/step")
    echo "going on after step $step"
fi
echo "hello $name, from job ${SYNOR_JOB_ID:-none}, rank ${RANK:-0} of ${WORLD_SIZE:-1}"
while [ "$step" -lt "$steps" ]; do
    sleep 1 & # in the background: a signal ends the wait, not only the sleep
    wait $! || true
    step=$((step + 1))
    echo "$step" > "$checkpoints/step.tmp"
    mv "$checkpoints/step.tmp" "$checkpoints/step"
    printf '{"step": %d, "steps_total": %d}\n' "$step" "$steps" >> "$progress"
    echo "step $step of $steps"
    if [ "$stop" = yes ]; then
        echo "asked to stop; step $step is saved"
        exit 143
    fi
done
echo "hello $name, counted to $step" > "$output/greeting.txt"
