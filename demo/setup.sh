#!/bin/sh
# Makes demo/.venv with everything the scripts here need, and looks for the emoji font. Usage:
# demo/setup.sh [python]
set -eu
cd "$(dirname "$0")"
python="${1:-python3}"
"$python" -m venv .venv
.venv/bin/pip install --quiet --requirement requirements.txt
if ! PYTHONDONTWRITEBYTECODE=1 .venv/bin/python -c 'import scenes; scenes.sprites()'; then
    echo "Install the font first (Debian, Ubuntu: apt install fonts-noto-color-emoji)," \
    "then run this again." >&2
    exit 1
fi
echo "Ready: demo/.venv/bin/python demo/train.py --help"
