#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The bench: Debian's serf and Starling in turn on the same work, in a network and process namespace
# of its own (root). Debian's Python, which has its msgpack. Installs what it needs and builds the release first.
#
#   test/bench/run.sh                        everything, about an hour and a half
#   test/bench/run.sh --quick                everything, small, a few minutes
#   test/bench/run.sh events query           some of it
#   test/bench/run.sh --out docs/results     also writes side-by-side.md, .json and .svg there
#   test/bench/run.sh thousand               a thousand agents on this host, for ten minutes
#   test/bench/run.sh growth                 one agent with 10 to 10,000 members (bench_peers)
#   test/bench/run.sh micro                  microbenchmarks of the hot path (Google Benchmark)
#   test/bench/run.sh --help                 all options and measures
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

need() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >/dev/null
}

if [ "${1:-}" = micro ]; then
  shift
  need libbenchmark-dev
  cmake -S "$root" --preset release -DSTARLING_BENCH=ON >/dev/null
  cmake --build "$root/build/release" --target microbench >/dev/null
  exec "$root/build/release/test/bench/microbench" "$@"
fi
if [ -z "${BENCH_INSIDE:-}" ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "test/bench/run.sh: namespaces want root" >&2
    exit 1
  fi
  need iproute2 python3-msgpack serf linux-perf binutils
  if [ -z "${STARLING_BINARY:-}" ]; then
    need libbenchmark-dev
    cmake -S "$root" --preset release -DSTARLING_BENCH=ON >/dev/null
    cmake --build "$root/build/release" --target starling bench_peers >/dev/null
  fi
  exec env BENCH_INSIDE=1 unshare --net --pid --fork --mount-proc --kill-child \
    "${BASH_SOURCE[0]}" "$@"
fi
ip link set lo up
cd "$root"
case "${1:-}" in
  thousand | growth)
    name=$1
    shift
    exec /usr/bin/python3 -B "test/bench/$name.py" "$@"
    ;;
esac
exec /usr/bin/python3 -B test/bench/compare.py "$@"
