#!/bin/sh
# Tests of hello.sh: a whole run, and a run stopped by SIGTERM and taken up again. Prints TAP.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
export SYNOR_CHECKPOINT_DIR="$root/checkpoints" SYNOR_OUTPUT_DIR="$root/output"
export SYNOR_PROGRESS="$root/progress.jsonl" SYNOR_HYPERPARAMETERS="$root/hyperparameters.json"
failed=0
number=0

check() { # check NAME COMMAND...
    name=$1
    shift
    number=$((number + 1))
    if "$@" > "$root/check.log" 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        sed 's/^/# /' "$root/check.log" "$root/log"
        failed=1
    fi
}

echo "1..7"
echo '{"steps": 2, "distributed": "ddp"}' > "$SYNOR_HYPERPARAMETERS"
sh "$here/hello.sh" you > "$root/log" 2>&1
code=$?
check "ends with 0" test "$code" -eq 0
check "leaves its result" grep -qx "hello you, counted to 2" "$SYNOR_OUTPUT_DIR/greeting.txt"
check "reports every step" test "$(grep -c '"steps_total": 2' "$SYNOR_PROGRESS")" -eq 2

rm -rf "$SYNOR_CHECKPOINT_DIR" "$SYNOR_OUTPUT_DIR"
echo '{"steps": 5}' > "$SYNOR_HYPERPARAMETERS"
sh "$here/hello.sh" > "$root/log" 2>&1 &
pid=$!
until grep -q "step 1 of 5" "$root/log"; do
    kill -0 "$pid" || break
    sleep 0.1
done
kill -TERM "$pid"
wait "$pid"
code=$?
saved=$(cat "$SYNOR_CHECKPOINT_DIR/step")
check "a stop ends it early" test "$code" -eq 143 -a "$saved" -lt 5
check "a stopped run leaves no result" test ! -e "$SYNOR_OUTPUT_DIR/greeting.txt"
sh "$here/hello.sh" > "$root/log" 2>&1
check "goes on where it stopped" grep -qx "going on after step $saved" "$root/log"
check "and ends the count" grep -q "counted to 5" "$SYNOR_OUTPUT_DIR/greeting.txt"
exit $failed
