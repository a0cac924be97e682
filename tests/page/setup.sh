# Sourced by run.sh and check.sh, in the root of the repository: installs the npm packages of package-lock.json into target/page.

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "tests/page: \`node\` and \`npm\` are not here: https://nodejs.org, or apt-get install nodejs npm" >&2
    exit 1
fi

export PAGE_MODULES="$PWD/target/page"
mkdir -p "$PAGE_MODULES"
# npm writes its own lock file last, so an install that was interrupted is repeated.
if ! cmp -s tests/page/package-lock.json "$PAGE_MODULES/package-lock.json" || [ ! -e "$PAGE_MODULES/node_modules/.package-lock.json" ]; then
    cp tests/page/package.json tests/page/package-lock.json "$PAGE_MODULES/"
    npm ci --prefix "$PAGE_MODULES" --no-audit --no-fund --loglevel=error
fi
