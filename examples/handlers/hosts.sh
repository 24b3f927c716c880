#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keeps FILE as a list "ADDRESS NAME" of live members. For the events member-join, member-update,
# member-leave and member-failed. Runs of one handler never overlap, so no lock is needed.
#
# usage: hosts.sh FILE
set -euo pipefail
file=$1
touch "$file"

while IFS=$'\t' read -r name address _; do
  awk -v name="$name" '$2 != name' "$file" > "$file.new"
  case "$SERF_EVENT" in
    member-join | member-update) echo "$address $name" >> "$file.new" ;;
  esac
  mv "$file.new" "$file"
done
