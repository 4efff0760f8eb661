#!/usr/bin/env bash
# start.sh PORT BACKEND_PORT SCENARIO: an earlier Tollgate, to see in one run what a change costs.
#   TOLLGATE_BEFORE        its program `tollgate`
#   TOLLGATE_BEFORE_SPEC   what it knows of HttpApi.spec, as YAML  [{limits: {routes: 100000}}]
set -eu
export TOLLGATE_BIN=${TOLLGATE_BEFORE:?names the earlier program} TOLLGATE_SPEC=${TOLLGATE_BEFORE_SPEC:-}
exec "$(dirname "$0")/../tollgate/start.sh" "$@"
