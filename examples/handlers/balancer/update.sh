#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Writes the living web servers into haproxy's configuration and reloads it.
#
# It does not count what comes and goes but asks who is there now: whatever was missed, the next run
# is right. A configuration that haproxy refuses is never put in place.
set -euo pipefail
config=${BALANCER_CONFIG:-/etc/haproxy/haproxy.cfg}
template=${BALANCER_TEMPLATE:-/etc/starling/haproxy.cfg.template}
port=${BALANCER_PORT:-8080}
reload=${BALANCER_RELOAD:-systemctl reload haproxy}

servers=$(starling members -status '^alive$' -tag role='^web$' |
  awk -v port="$port" '{
    address = $2
    sub(/:[0-9]+$/, "", address)
    printf "    server %s %s:%s\n", $1, address, port
  }')

new=$config.new
trap 'rm -f "$new"' EXIT
{
  cat "$template"
  if [ -n "$servers" ]; then echo "$servers"; fi
} > "$new"
if cmp -s "$new" "$config"; then
  echo "nothing to change"
  exit 0
fi
haproxy -c -q -f "$new"
mv "$new" "$config"
$reload
echo "haproxy now has:"
echo "${servers:-    no server}"
