#!/bin/bash
# Prints what happened. Written for Serf; runs unchanged.
echo
echo "New event: ${SERF_EVENT}. Data follows..."
while read line; do
  printf "${line}\n"
done
