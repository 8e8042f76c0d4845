#!/usr/bin/env bash
# Shows the three tasks on bundled pictures that the bundled model was never trained on.
# usage: demo.sh [PROGRAM]
set -euo pipefail
program=$(realpath "${1:-build/release/bin/blip}")
cd "$(dirname "$0")/../demo/scenes"

show() {
  printf '\n$ blip'
  for word in "$@"; do
    case $word in
      *\ *) printf ' "%s"' "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$program" "$@"
}

show caption '*.png'
show match cat-bus.png --text "a cat to the left of a bus" --text "a cat to the right of a bus" \
    --text "a dog"
show ask cat-bus.png --question "what is to the right of the cat?" \
    --question "what color is the background?" \
  --question "is there a dog?"
