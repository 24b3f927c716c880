#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Brings a host to the state that is wanted: starling event converge
#
# Stands for chef-client or puppet agent, and does what they do in the small: what is in the folder
# $CONVERGE_WANTED has to be below $CONVERGE_ROOT, with the same content and mode. What is right
# already is left alone, so it may run as often as you like. Prints what it changed.
set -euo pipefail
wanted=${CONVERGE_WANTED:?set it in the handler\'s env}
root=${CONVERGE_ROOT:?set it in the handler\'s env}

changed=0
while IFS= read -r -d '' file; do
  name=${file#"$wanted"/}
  target=$root/$name
  mode=$(stat -c %a "$file")
  if cmp -s "$file" "$target" && [ "$(stat -c %a "$target")" = "$mode" ]; then continue; fi
  mkdir -p "$(dirname "$target")"
  install -m "$mode" "$file" "$target.new"
  mv "$target.new" "$target"
  echo "changed $name"
  changed=$((changed + 1))
done < <(find "$wanted" -type f -print0 | sort -z)
echo "$changed changed on $SERF_SELF_NAME"
