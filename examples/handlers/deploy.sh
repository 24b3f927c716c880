#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Deploys the version that the event's payload names: starling event deploy v1.2.3
#
# The payload comes from the network: check it before use. What is printed goes to the agent's log;
# an exit status that is not 0 is logged as an error. `trap` cleans up if the time limit is over.
set -euo pipefail
read -r version || { echo "deploy: no version in the payload" >&2; exit 2; }
if ! [[ $version =~ ^v[0-9]+(\.[0-9]+)*$ ]]; then
  echo "deploy: '$version' is not a version" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM

echo "deploying $version on $SERF_SELF_NAME (event ${STARLING_EVENT_ID:-none})"
# Put here what a deployment is on your hosts.
echo "$version" > "$work/version"
