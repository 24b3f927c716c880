#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Deploys the version that the payload names: starling query -wait-jobs deploy v1.2.3
#
# A version is a folder in $DEPLOY_ROOT/releases; the link $DEPLOY_ROOT/current says which one runs.
# $DEPLOY_FETCH, if set, is a command that brings a version (its argument) into the present folder;
# $DEPLOY_CHECK one that says with its status whether what runs now is well. If it is not, the version
# before runs again, and the job has failed.
#
# The payload comes from the network: check it before use. What is printed is the job's log.
set -euo pipefail
root=${DEPLOY_ROOT:?set it in the handler\'s env}
read -r version || { echo "deploy: no version in the payload" >&2; exit 2; }
if ! [[ $version =~ ^v[0-9]+(\.[0-9]+)*$ ]]; then
  echo "deploy: '$version' is not a version" >&2
  exit 2
fi

# Of two runs that follow each other, and of one that was cut short, no half is left: a folder gets
# its name when it is whole, a link is replaced in one step.
release=$root/releases/$version
if [ ! -d "$release" ]; then
  mkdir -p "$root/releases"
  work=$(mktemp -d "$root/releases/.$version.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 143' TERM
  echo "fetching $version"
  (cd "$work" && ${DEPLOY_FETCH:?"$release is not there, and nothing is set to fetch it"} "$version")
  chmod 755 "$work"
  mv -T "$work" "$release"
fi

switch_to() {
  ln -sfn "$1" "$root/current.new"
  mv -T "$root/current.new" "$root/current"
}

before=$(readlink "$root/current" || true)
echo "switching $SERF_SELF_NAME from ${before:-nothing} to releases/$version"
switch_to "releases/$version"
if ! (cd "$root/current" && ${DEPLOY_CHECK:-true}); then
  echo "deploy: $version is not well on this host" >&2
  if [ -n "$before" ]; then
    echo "going back to $before" >&2
    switch_to "$before"
  fi
  exit 1
fi
echo "$version runs"
