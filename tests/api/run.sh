#!/usr/bin/env bash
# Tests the running server against docs/openapi.json, with requests that the document allows and forbids. Needs python3 with venv.
# Installs schemathesis into target/api; CI fails without it.
#   FOGHORN=PATH    the binary
set -euo pipefail
cd "$(dirname "$0")/../.."
version=4.32.5
tools="$PWD/target/api"
foghorn=$(realpath "${FOGHORN:-target/debug/foghorn}")

if ! "$tools/bin/schemathesis" --version 2>/dev/null | grep -q " $version\$"; then
    if ! { python3 -m venv --clear "$tools" && "$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"; }; then
        echo "tests/api/run.sh: SKIPPED: schemathesis $version could not be installed: python3 with venv (apt-get install python3-venv) and PyPI are needed" >&2
        [ "${CI:-}" != true ]
        exit
    fi
fi

folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
umask 077
cat >"$folder/rules.yaml" <<'YAML'
server: {edit_rules: true}
destinations: {ops: {console: {}}}
rules:
  - {name: AP unreachable, match: {condition: ap_offline}, group_wait: 0s}
YAML
(cd "$folder" && exec env -i PATH="$PATH" "$foghorn" serve --listen 127.0.0.1:0 >out 2>log) &
server=$!
for _ in $(seq 300); do
    address=$(sed -n 's/^listening on //p' "$folder/out" 2>/dev/null)
    [ -z "$address" ] || break
    sleep 0.1
done
[ -n "$address" ] || { cat "$folder/log" >&2; exit 1; }
"$tools/bin/python" - "$address/mist" <<'PY'
import json, sys, time, urllib.request
event = {"type": "AP_DISCONNECTED", "device_name": "ap-1", "mac": "5c5b35000001", "site_name": "Home", "timestamp": time.time()}
body = json.dumps({"topic": "device-events", "events": [event]}).encode()
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
direct.open(urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"}))
PY

# The stream never ends, and `tune` takes minutes, so both are left out.
check() {
    "$tools/bin/schemathesis" --config-file "$project/tests/api/schemathesis.toml" run "$project/docs/openapi.json" --url "$address" \
        --header "Authorization: Bearer $(cat data/token)" --request-timeout 30 --generation-database none --workers 2 --no-color \
        --exclude-path /api/v1/live --exclude-path /api/v1/tune "$@"
}
project=$PWD
cd "$folder"
# Every boundary of every field, then random requests. Their number is fixed, so that runs are comparable.
check --phases coverage
check --phases fuzzing --max-examples 20
