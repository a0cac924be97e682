#!/usr/bin/env bash
# Builds Foghorn and runs every test, those of the page in a real browser too. Needs Rust, a C compiler and Node, and gets the rest:
# npm packages into target/page, schemathesis into target/api, Chromium where there is none, and as root on Debian what lies to
# programs about the clock and the disk, and what rates the systemd unit. With arguments: `cargo test` with them, and nothing else.
set -euo pipefail
cd "$(dirname "$0")"

for tool in cargo cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "test.sh: \`$tool\` is not here. Rust: https://rustup.rs. The C compiler (for SQLite): apt-get install gcc" >&2
        exit 1
    fi
done

# Without these, tests say that they are skipped.
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
