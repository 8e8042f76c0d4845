#!/usr/bin/env bash
# Shows the three tasks on bundled pictures that the bundled model was never trained on.
# usage: demo.sh [PROGRAM]
set -euo pipefail
program=$(realpath "${1:-build/release/bin/blip}")
cd "$(dirname "$0")/../demo/scenes"

# Shows a command, over two lines where it is long, and runs it.
show() {
  local line='$ blip' word
  printf '\n'
  for word in "$@"; do
    case $word in *\ *) word="\"$word\"" ;; esac
    # An option and its value stay together.
    if [ "${word#--}" != "$word" ] && [ $((${#line} + ${#word})) -gt 60 ]; then
      printf '%s \\\n' "$line"
      line="   "
    fi
    line="$line $word"
  done
  printf '%s\n' "$line"
  "$program" "$@"
}

show caption '*.png'
show match cat-bus.png --text "a cat to the left of a bus" --text "a cat to the right of a bus" \
    --text "a dog"
show ask cat-bus.png --question "what is to the right of the cat?" \
    --question "what color is the background?" --question "is there a dog?"
