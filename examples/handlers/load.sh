#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Answers a query with the load of the last minute: starling query load
# What it prints is the answer; an exit status that is not 0 tells the asker that it failed.
exec cut -d' ' -f1 /proc/loadavg
