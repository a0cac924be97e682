#!/usr/bin/env bash
# Builds Foghorn and runs every test. Needs Rust and a C compiler, nothing else. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")"

for tool in cargo cc; do
    if ! command -v "$tool" >/dev/null; then
        echo "test.sh: \`$tool\` is not here. Rust: https://rustup.rs. The C compiler (for SQLite): apt-get install gcc" >&2
        exit 1
    fi
done

echo "test.sh: cargo test --locked $* (a first build takes a few minutes)"
exec cargo test --locked "$@"
