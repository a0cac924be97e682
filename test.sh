#!/usr/bin/env bash
# Builds Foghorn and runs every test, also those of the page in a real browser. Needs Rust, a C compiler and Node. Installs the rest:
# npm packages into target/page, schemathesis into target/api, and Chromium if it is missing. As root on Debian it also installs
# faketime and fiu-utils (faults of clock and disk) and systemd (rates the unit). With arguments, it only runs `cargo test` with them.
set -euo pipefail
cd "$(dirname "$0")"

for tool in cargo cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "test.sh: \`$tool\` is not here. Rust: https://rustup.rs. The C compiler (for SQLite): apt-get install gcc" >&2
        exit 1
    fi
done

# Without these, some tests are skipped and print so.
if [ $# -eq 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    get() { apt-get install -y --no-install-recommends faketime fiu-utils systemd >/dev/null 2>&1; }
    if ! { command -v faketime && command -v fiu-run && command -v systemd-analyze; } >/dev/null; then
        get || { apt-get update >/dev/null 2>&1 && get; } ||
            echo "test.sh: faketime, fiu-utils and systemd could not be installed; tests that need them are skipped" >&2
    fi
fi

echo "test.sh: cargo test --locked $* (a first build takes a few minutes)"
cargo test --locked "$@"
if [ $# -eq 0 ]; then
    export FOGHORN="${FOGHORN:-$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/foghorn}"
    tests/api/run.sh
    exec tests/page/run.sh
fi
