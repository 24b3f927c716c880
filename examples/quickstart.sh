#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Starling in one sitting: builds it, starts three agents on this machine as if on three hosts, and
# shows what they do for each other. Runs on Debian 12: as root it installs what the build needs; as
# anyone else it asks for that. Everything it starts or writes is gone at the end, but for the build.
#
# STARLING_BINARY=/path/to/starling uses a program that is already built.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

headline() {
  printf '\n== %s\n' "$*"
}

# ---------------------------------------------------------------------------------------------
# Build

packages=(
  ccache clang-19 cmake libasio-dev libcli11-dev libexpected-dev libfmt-dev libprotobuf-dev
  libre2-dev libsodium-dev libspdlog-dev libsqlite3-dev libyaml-cpp-dev mold ninja-build
  nlohmann-json3-dev pkg-config protobuf-compiler
)

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "These packages are needed to build; as root:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  headline "Installing what the build needs"
  export DEBIAN_FRONTEND=noninteractive
  echo "$ apt-get install ${missing[*]}"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

build() {
  install_packages
  headline "Building Starling (a few minutes the first time)"
  cd "$root"
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1  # one cache serves all checkouts
  if [ ! -f build/release/build.ninja ]; then
    echo '$ cmake --preset release'
    cmake --preset release -DSTARLING_TESTS=OFF >/dev/null
  fi
  echo '$ cmake --build --preset release --target starling'
  cmake --build --preset release --target starling | tail -n 1
}

if [ -n "${STARLING_BINARY:-}" ]; then
  binary=$(realpath "$STARLING_BINARY")
else
  build
  binary=$root/build/release/starling
fi
[ -x "$binary" ] || { echo "quickstart.sh: $binary is not a program" >&2; exit 1; }
starling() { "$binary" "$@"; }

# ---------------------------------------------------------------------------------------------
# A folder and three agents, gone at the end

folder=$(mktemp -d "${TMPDIR:-/tmp}/starling-quickstart.XXXXXX")
declare -A agent_process=()

clean_up() {
  local status=$? name process
  trap - EXIT INT TERM
  for name in "${!agent_process[@]}"; do
    kill -TERM "${agent_process[$name]}" 2>/dev/null || true
  done
  for name in "${!agent_process[@]}"; do
    process=${agent_process[$name]}
    for _ in $(seq 100); do
      kill -0 "$process" 2>/dev/null || break
      sleep 0.05
    done
    kill -KILL "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  if [ "$status" -ne 0 ]; then
    for name in "${!agent_process[@]}"; do
      echo "--- the last lines of the log of $name ---" >&2
      tail -n 20 "$folder/$name.log" >&2 || true
    done
  fi
  rm -rf "$folder"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
cd "$folder"
unset STARLING_CONTROL

# show COMMAND...: prints the command as one would type it, then runs it.
show() {
  local shown='' word
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_.:/=,+-]*) shown+=" '$word'" ;;
      *) shown+=" $word" ;;
    esac
  done
  echo "\$$shown"
  "$@"
}

# until_true WHAT COMMAND...: waits until the command succeeds, at most half a minute.
until_true() {
  local what=$1
  shift
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "quickstart.sh: waited in vain until $what" >&2
  exit 1
}

# sees AGENT MEMBER STATUS: whether the one sees the other so.
sees() {
  starling members -control "$1.sock" -name "$2" -status "$3" | grep -q "$2"
}

alive() {
  [ "$(starling members -control "$1.sock" -status alive | grep -c .)" -eq "$2" ]
}

start_agent() {
  local name=$1 port=$2
  echo "\$ starling agent -node $name -bind 127.0.0.1:$port -data-dir $name -control $name.sock \\"
  echo "    -event-handler './handler.sh >> $name.heard' \\"
  echo "    -event-handler 'query:load=cut -d\" \" -f1 /proc/loadavg' &"
  "$binary" agent -node "$name" -bind "127.0.0.1:$port" -data-dir "$name" -control "$name.sock" \
    -event-handler "./handler.sh >> $name.heard" \
    -event-handler 'query:load=cut -d" " -f1 /proc/loadavg' \
    >>"$name.log" 2>&1 &
  agent_process[$name]=$!
  until_true "$name answers" starling members -control "$name.sock"
}

# Three ports that nobody listens on.
free_ports() {
  local base port
  for base in $(seq 7946 10 9946); do
    for port in "$base" $((base + 1)) $((base + 2)); do
      if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue 2; fi
    done
    echo "$base"
    return
  done
  echo "quickstart.sh: no free ports" >&2
  return 1
}
port=$(free_ports)

# ---------------------------------------------------------------------------------------------
# The story

headline "A handler: any program. Starling runs it when something happens in the cluster"
cat >handler.sh <<'HANDLER'
#!/bin/bash
echo $SERF_EVENT
while read line; do
  printf "${line}\n"
done
HANDLER
chmod +x handler.sh
show cat handler.sh

headline "Three agents; think of three hosts. None knows of the others yet"
start_agent alpha "$port"
start_agent beta $((port + 1))
start_agent gamma $((port + 2))
show starling members -control alpha.sock

headline "Joining any one member is joining all of them; there is no server"
show starling join -control beta.sock "127.0.0.1:$port"
show starling join -control gamma.sock "127.0.0.1:$port"
for name in alpha beta gamma; do until_true "$name sees three members" alive "$name" 3; done
show starling members -control beta.sock

headline "An event: sent at one host, heard by the handlers of all"
show starling event -control gamma.sock deploy "version 42"
for name in alpha beta gamma; do
  until_true "the handler of $name ran" grep -q 'version 42' "$name.heard"
  show tail -n 2 "$name.heard"
done

headline "A query: asked at one host, answered by the handlers of all (here: their load)"
show starling query -control alpha.sock load

headline "Tags say what a host is, and can change while it runs"
show starling tags -control beta.sock -set role=database
tagged() { starling members -control alpha.sock -tag role=database | grep -q beta; }
until_true "alpha hears of the tag" tagged
show starling members -control alpha.sock -tag role=database

headline "gamma dies without a word; the others notice by themselves"
echo "\$ kill -9 ${agent_process[gamma]}    # gamma"
kill -KILL "${agent_process[gamma]}"
wait "${agent_process[gamma]}" 2>/dev/null || true
until_true "alpha sees gamma failed" sees alpha gamma failed
until_true "beta sees gamma failed" sees beta gamma failed
show starling members -control alpha.sock

headline "... and the same handler told alpha's host about it (name, address, role, tags)"
until_true "the handler of alpha ran" grep -q member-failed alpha.heard
show tail -n 2 alpha.heard

headline "gamma starts again. It remembers where the others are; nobody has to tell it"
start_agent gamma $((port + 2))
until_true "alpha sees gamma alive" sees alpha gamma alive
show starling members -control alpha.sock

headline "Leaving is not dying: the others know the difference"
show starling leave -control gamma.sock
wait "${agent_process[gamma]}" 2>/dev/null || true
unset 'agent_process[gamma]'
until_true "alpha sees gamma left" sees alpha gamma left
show starling members -control alpha.sock

headline "That was Starling. The agents are stopped and their files removed"
echo "Next: README.md, docs/, and '$binary --help'"
