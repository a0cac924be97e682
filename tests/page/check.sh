#!/usr/bin/env bash
# Checks the types of the page's JavaScript (`tsc`, from its JSDoc and docs/openapi.json), and lints it and its tests (`oxlint`).
# Needs node 20 or newer; installs the rest.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/page/setup.sh

node tests/page/types.mjs > "$PAGE_MODULES/api.d.ts"
"$PAGE_MODULES/node_modules/.bin/tsc" -p src/web/jsconfig.json
"$PAGE_MODULES/node_modules/.bin/oxlint" -c tests/page/oxlintrc.json --quiet src/web/page tests/page
