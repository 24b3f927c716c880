#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The handler of Serf's own introduction, word for word.
# shellcheck disable=SC2162,SC2059
# Prints what happened. Written for Serf; runs unchanged.
echo
echo "New event: ${SERF_EVENT}. Data follows..."
while read line; do
  printf "${line}\n"
done
