#!/bin/sh
# `rpk cluster health`, by asking for metadata.
[ "$1 $2" = "cluster health" ] || exit 64
if kcat -b localhost:9092 -L -m 3 >/dev/null 2>&1; then healthy=true; else healthy=false; fi
echo "CLUSTER HEALTH OVERVIEW"
echo "Healthy:                          $healthy"
