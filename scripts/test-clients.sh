#!/usr/bin/env bash
# Tests `blip serve` with real clients: the openai and requests packages, Chromium (with axe) on the
# page, schemathesis on the API, the pages of SOPHON's BLIP sample. Installs what it needs: Python
# packages from PyPI into a folder beside the build, Chromium by apt or else by Playwright. The
# sample's pages come from its repository, or from the folder sample/BLIP of it that
# $BLIP_SOPHON_DEMO names; without either they are left out, with --optional without the folder.
# usage: test-clients.sh [--optional] [PROGRAM [SCREENSHOT_FOLDER]]
#   --optional: where something cannot be installed (no network, no root), say so and succeed
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
optional=
if [ "${1:-}" = --optional ]; then
  optional=1
  shift
fi
program=$(realpath "${1:-$root/build/release/bin/blip}")
shots=${2:-$(dirname "$(dirname "$program")")/clients-shots}
venv=$(dirname "$(dirname "$program")")/clients
wanted=$root/tests/server/requirements.txt

give_up() {
  echo "test-clients.sh: $1" >&2
  if [ -n "$optional" ]; then
    echo "SKIPPED: blip serve with real clients;" \
    "run \`make test-clients\` where that can be installed" >&2
    exit 0
  fi
  exit 1
}

prepare_python() {
  cmp -s "$wanted" "$venv/installed.txt" && return
  rm -rf "$venv"
  "$root/scripts/install-deps.sh" clients && python3 -m venv "$venv" &&
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$wanted" &&
    cp "$wanted" "$venv/installed.txt"
}

find_browser() {
  for name in "${BROWSER:-}" chromium chromium-browser google-chrome; do
    # Ubuntu's chromium-browser only tells people to install a snap.
    if [ -n "$name" ] && "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  return 1
}

prepare_python >"/tmp/test-clients.$$" 2>&1 ||
  { tail -n 5 "/tmp/test-clients.$$" >&2; rm -f "/tmp/test-clients.$$"; 
    give_up "cannot install the Python packages of tests/server/requirements.txt"; }
rm -f "/tmp/test-clients.$$"
BROWSER=$(find_browser) || { "$root/scripts/install-deps.sh" browser >&2 &&
  BROWSER=$(find_browser); } || BROWSER=
if [ -z "$BROWSER" ]; then
  "$venv/bin/playwright" install --with-deps chromium >&2 ||
    give_up "no Chromium, and neither apt nor Playwright can install one"
fi
export BROWSER BLIP_PROGRAM=$program BLIP_SOURCE=$root PYTHONDONTWRITEBYTECODE=1 \
    PATH=$venv/bin:$PATH

mkdir -p "$shots"
cd "$root/tests/server"
python3 clients.py
python3 -B ../hub/test_pull.py WithTheirPackage  # the cache as the huggingface_hub package sees it
library=$(dirname "$(dirname "$program")")/src/libblip.so
[ ! -e "$library" ] || BLIPCPP_LIBRARY=$library BLIP_MODEL=$root/models/blip-demo.gguf \
    PYTHONPATH=$root/python/src \
  python3 -B ../python/test_hub.py ByTheirPackage  # downloads by that package from Python
python3 page.py "$shots"

# The sample's own pages, with the Streamlit of their time.
fetch_sample() {
  local clone=$venv-sophon-demo
  if [ ! -d "$clone/sample/BLIP/web_ui" ]; then
    rm -rf "$clone"
    GIT_TERMINAL_PROMPT=0 timeout 120 git clone -q --depth 1 --filter=blob:none --sparse \
      https://github.com/sophgo/sophon-demo "$clone" &&
      git -C "$clone" sparse-checkout set sample/BLIP/web_ui || return 1
  fi
  BLIP_SOPHON_DEMO=$clone/sample/BLIP
}
sample_pages() {
  local packages=$root/tests/server/requirements-sophon-demo.txt
  local installed=$venv/installed-sophon-demo.txt
  [ -n "${BLIP_SOPHON_DEMO:-}" ] || { [ -z "$optional" ] && fetch_sample; } || return 1
  export BLIP_SOPHON_DEMO
  cmp -s "$packages" "$installed" && return
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$packages" &&
    cp "$packages" "$installed"
}
if sample_pages >&2; then
  python3 sophon_demo_pages.py "$shots"
else
  echo "SKIPPED: the pages of SOPHON's BLIP sample; BLIP_SOPHON_DEMO names its folder" >&2
fi

folder=$(mktemp -d)
"$program" serve -q --timeout 2 --port 0 --history "$folder/history.db" >"$folder/address" \
    2>"$folder/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
until [ -s "$folder/address" ]; do
  kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
  sleep 0.1
done
if ! ./schema.sh "$(sed 's|/$||' "$folder/address")" --seed 1 --request-timeout 60 \
    >"$folder/schema" 2>&1; then
  cat "$folder/schema" >&2
  exit 1
fi
grep -E "^  [0-9]+ generated" "$folder/schema"
kill "$server"
wait "$server"
echo "clients: openai, requests, Chromium, axe and schemathesis passed"
