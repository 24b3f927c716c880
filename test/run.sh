#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing (Debian 12, as root), builds, and runs every test: unit, simulation, lint,
# end-to-end and fuzz with the release build, then the suites again under AddressSanitizer (but what is
# about times), and those with threads under ThreadSanitizer. The last line is "N passed, N failed"
# with ", N skipped" where some were; the exit status is 0 when none failed.
#
#   test/run.sh                         what CI runs
#   test/run.sh --preset debug          one preset, all of it (may be repeated)
#   test/run.sh --label unit            tests with one label (may be repeated)
#   test/run.sh --preset release --label tidy   clang-tidy over the whole tree
#   test/run.sh --soak                  also the tests that take very long
#   test/run.sh --jobs 4                compilers at once (default: the processors); one test more
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# One cache serves all checkouts.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

packages=(
  # to build
  ccache clang-19 cmake libasio-dev libavahi-client-dev libcli11-dev libexpected-dev libfmt-dev
  libjemalloc-dev libprotobuf-dev libre2-dev libsodium-dev libspdlog-dev
  libsqlite3-dev libyaml-cpp-dev mold ninja-build nlohmann-json3-dev pkg-config protobuf-compiler
  # to test
  avahi-daemon catch2 clang-format-19 clang-tidy-19 dbus git haproxy iproute2 libclang-rt-19-dev
  nftables python3 python3-msgpack serf shellcheck systemd
)
# For node-serf. Debian's npm is hundreds of packages, and Node.js often comes from elsewhere.
if ! command -v node >/dev/null && ! command -v npm >/dev/null; then
  packages+=(nodejs npm)
fi

usage() {
  sed -n 's/^#   test/  test/p' "$0"
}

presets=()
labels=()
soak=no
jobs=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --preset) presets+=("${2:?--preset wants a name}"); shift 2 ;;
    --label) labels+=("${2:?--label wants a name}"); shift 2 ;;
    --jobs) jobs=${2:?--jobs wants a number}; shift 2 ;;
    --soak) soak=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "test/run.sh: unknown option $1; these exist:" >&2; usage >&2; exit 2 ;;
  esac
done
everything=no
if [ ${#presets[@]} -eq 0 ]; then
  presets=(release asan tsan)
else
  everything=yes
fi
# Without a preset named, ThreadSanitizer sees what has threads: the store, the resolver and all that
# is built on them. The pure core and the simulator have none.
threaded_targets=(starling packet_storm test_agent test_control_wire test_net test_store)
threaded_tests='^(agent|control_wire|net|store): ?|^e2e: '

headline() {
  printf '\n==> %s\n' "$*"
}

# timed NAME COMMAND...: runs it, then tells what it cost; the status is the command's.
timed() {
  local name=$1 status=0
  shift
  local TIMEFORMAT="    $name: %R s, processor %U s user and %S s system"
  time "$@" || status=$?
  return "$status"
}

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "These packages are missing; install them as root:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    return 1
  fi
  headline "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Processes that a test started and left: each carries this run's mark in its environment.
leftovers() {
  env -u TEST_RUN_MARK grep -lsz "^TEST_RUN_MARK=$run_mark\$" /proc/[0-9]*/environ 2>/dev/null |
    cut -d/ -f3 || true
}

# total NAME FILE: one attribute of a JUnit report's first element.
total() {
  grep -o -m 1 "\b$1=\"[0-9]*\"" "$2" | head -n 1 | tr -dc '0-9'
}

passed=0
failed=0
skipped=0
failing_reports=()
run_mark=$$-$(date +%s)
reports=$root/build/reports
mkdir -p "$reports"

finish() {
  local status=$?
  trap - EXIT
  [ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
  # Once more at the end, where whoever reads only the end of a long log finds it.
  [ ${#failing_reports[@]} -eq 0 ] || python3 test/failures.py "${failing_reports[@]}" || true
  printf '\n%d passed, %d failed' "$passed" "$failed"
  [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
  printf '\n'
  [ "$failed" -eq 0 ] || exit 1
}
trap finish EXIT

# Told to stop: ctest and all that it started go first.
interrupted() {
  local pid
  trap '' INT TERM HUP
  for pid in $(leftovers); do kill -TERM "$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do  # tests clean up behind themselves
    [ -n "$(leftovers)" ] || break
    sleep 0.1
  done
  for pid in $(leftovers); do kill -KILL "$pid" 2>/dev/null || true; done
  exit 130
}
trap interrupted INT TERM HUP

# In the background and waited for, so that a signal is not kept waiting until the tests are over.
run_ctest() {
  env TEST_RUN_MARK="$run_mark" ctest "$@" &
  wait $!
}

test_preset() {
  local preset=$1 report="$reports/$1.xml" status=0 arguments label name pid
  headline "Building $preset"
  if ! timed "configure and build $preset" build "$preset"; then
    echo "    the build of $preset failed"
    failed=$((failed + 1))
    return 0
  fi
  # One more than there are processors: most tests wait more than they compute.
  arguments=(--preset "$preset" -j "$((jobs + 1))" --output-junit "$report")
  if [ ${#labels[@]} -gt 0 ]; then
    label=$(IFS='|'; echo "${labels[*]}")
    arguments+=(-L "^($label)\$")
  fi
  local excluded=()
  [ "$soak" = yes ] || excluded+=(soak)
  [[ " ${labels[*]} " == *" tidy "* ]] || excluded+=(tidy)
  [ "$preset $everything" != "tsan no" ] || excluded+=(whole)
  [ "$preset $everything" != "asan no" ] || excluded+=(timed)
  [ ${#excluded[@]} -eq 0 ] || arguments+=(-LE "^($(IFS='|'; echo "${excluded[*]}"))\$")
  [ "$preset $everything" != "tsan no" ] || arguments+=(-R "$threaded_tests")
  rm -f "$report"
  headline "Testing $preset: ctest ${arguments[*]}"
  timed "tests of $preset" run_ctest "${arguments[@]}" || status=$?
  local tests=0 failures=0 skips=0
  if [ -s "$report" ]; then
    tests=$(total tests "$report")
    failures=$(total failures "$report")
    skips=$(($(total skipped "$report") + $(total disabled "$report")))
  fi
  if [ "$status" -ne 0 ] && [ "$failures" -eq 0 ]; then  # ctest itself failed
    failures=1
    tests=$((tests + 1))
  fi
  [ "$failures" -eq 0 ] || [ ! -s "$report" ] || failing_reports+=("$report")
  passed=$((passed + tests - failures - skips))
  failed=$((failed + failures))
  skipped=$((skipped + skips))
  for pid in $(leftovers); do
    name=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || continue
    echo "    left behind by a test: process $pid: $name"
    kill -KILL "$pid" 2>/dev/null || true
    failed=$((failed + 1))
  done
}

build() {
  local quiet="$reports/$1.configure"
  # The quickstart may have configured the same folder without tests.
  if ! cmake --preset "$1" -DSTARLING_TESTS=ON >"$quiet" 2>&1; then
    cat "$quiet"
    return 1
  fi
  local targets=()
  [ "$1 $everything" != "tsan no" ] || targets=(--target "${threaded_targets[@]}")
  cmake --build --preset "$1" -j "$jobs" "${targets[@]}"
}

install_packages
for preset in "${presets[@]}"; do
  test_preset "$preset"
done
if [ $((passed + failed + skipped)) -eq 0 ]; then
  echo "    no test matched"
  failed=1
fi
headline "Ran ${presets[*]}${labels:+ (labels ${labels[*]})}; soak: $soak; processors: $jobs"
