#!/bin/sh
# A Sentinel writes its own configuration file; the one that it is given is only for its first start.
DATA=${DATA:-/data} CONF=${CONF:-/etc/bench}
[ -e "$DATA"/sentinel.conf ] || cp "$CONF"/sentinel.conf "$DATA"/sentinel.conf
exec redis-server "$DATA"/sentinel.conf --sentinel
