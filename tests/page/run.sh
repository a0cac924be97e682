#!/usr/bin/env bash
# Tests the page in a headless browser. Needs node 20 or newer. Installs npm packages into target/page, and Chromium if it is
# missing.
#   CHROMIUM=PATH     the browser to use
#   PAGE_SHOTS=DIR    writes screenshots there
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/page/setup.sh

found() {
    for browser in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$browser" ] && command -v "$browser"; then return 0; fi
    done
    node -e '
        const { chromium } = require(process.env.PAGE_MODULES + "/node_modules/playwright-core");
        const path = chromium.executablePath();
        if (!require("fs").existsSync(path)) process.exit(1);
        console.log(path);
    '
}

if ! CHROMIUM="$(found)"; then
    echo "tests/page/run.sh: no Chromium here; getting one"
    "$PAGE_MODULES/node_modules/.bin/playwright-core" install chromium-headless-shell chromium ||
        { [ "$(id -u)" = 0 ] && apt-get update -q && apt-get install -yq --no-install-recommends chromium fonts-dejavu-core; } ||
        { echo "tests/page/run.sh: install Chromium (apt-get install chromium), or say where it is: CHROMIUM=PATH" >&2; exit 1; }
    CHROMIUM="$(found)"
fi
export CHROMIUM

# The tests mostly wait, so running them together saves a third of the time.
exec node --test --test-concurrency=3 --test-reporter=spec "$@" tests/page/*.test.mjs
