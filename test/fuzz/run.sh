#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Lets the fuzz targets run for long, one after the other, at the lowest priority. What they learn is
# kept in build/fuzz/corpus for the next time; an input that fails is kept in build/fuzz/findings.
#
#   test/fuzz/run.sh --minutes 60                 each target for an hour
#   test/fuzz/run.sh --minutes 10 --target rpc    one of them (may be repeated)
#   test/fuzz/run.sh --replay FILE --target rpc   one input again, with a backtrace
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

all=(packet seal stream rpc config spec store job_log)
targets=()
minutes=
replay=
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes wants a number}; shift 2 ;;
    --target) targets+=("${2:?--target wants a name}"); shift 2 ;;
    --replay) replay=${2:?--replay wants a file}; shift 2 ;;
    *) sed -n 's/^#   test/  test/p' "$0" >&2; echo "targets: ${all[*]}" >&2; exit 2 ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
[ -n "$minutes$replay" ] || { echo "test/fuzz/run.sh: --minutes says how long" >&2; exit 2; }

cmake --preset fuzz -DSTARLING_TESTS=ON >/dev/null
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}"
export UBSAN_OPTIONS=print_stacktrace=1

if [ -n "$replay" ]; then
  exec "build/fuzz/test/fuzz/fuzz_${targets[0]}" "$replay"
fi

# The group of processes that this shell leads gives way to all others, where the kernel can.
{ echo 19 >/proc/self/autogroup; } 2>/dev/null || true
findings=$root/build/fuzz/findings
mkdir -p "$findings"
failed=0
for target in "${targets[@]}"; do
  corpus=$root/build/fuzz/corpus/$target
  mkdir -p "$corpus"
  echo "== $target: $minutes minutes"
  nice -n 19 "build/fuzz/test/fuzz/fuzz_$target" -max_total_time=$((minutes * 60)) -timeout=20 \
    -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$findings/$target-" "$corpus" "test/fuzz/corpus/$target" || failed=1
done
if [ "$failed" -ne 0 ]; then
  echo "Something was found; the inputs are in $findings" >&2
fi
exit "$failed"
