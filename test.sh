#!/usr/bin/env bash
# Builds Foghorn and runs every test, those of the page in a real browser too. Needs Rust, a C compiler and Node, and gets the rest:
# two npm packages into target/page, and Chromium where there is none. With arguments: `cargo test` with them, and no browser.
set -euo pipefail
cd "$(dirname "$0")"

for tool in cargo cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "test.sh: \`$tool\` is not here. Rust: https://rustup.rs. The C compiler (for SQLite): apt-get install gcc" >&2
        exit 1
    fi
done

echo "test.sh: cargo test --locked $* (a first build takes a few minutes)"
cargo test --locked "$@"
if [ $# -eq 0 ]; then
    FOGHORN="${FOGHORN:-$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/foghorn}" exec tests/page/run.sh
fi
