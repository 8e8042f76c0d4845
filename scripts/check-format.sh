#!/usr/bin/env bash
# Says which files the formatters would write otherwise (clang-format 14 of Debian 12 for C++, black
# 26 for Python where it is installed) and which lines have over 100 columns. --write formats
# instead. Longer lines are allowed where nothing can break them, or nobody writes them:
# - a line of one word, such as an address, or wget with one;
# - Markdown's tables and links, and in its code blocks what a program printed;
# - texts for Chinese eyes in the page;
# - in Python a line that shows a program's own format (`# format: as printed` above the text);
# - tests' data, the fuzzers' inputs, notebooks, JSON and the ABI's dump.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=

# Those without an ending are known by their first line.
python_files() { { git ls-files '*.py'; git grep -lI '^#!.*python3$'; } | sort -u; }

if [ "${1:-}" = --write ]; then
  git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format -i
  ! command -v black >/dev/null || python_files | xargs black -q -l 100
  exit 0
fi

if clang-format --version | grep -q 'version 14\.'; then
  git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format --dry-run -Werror || failed=1
else
  echo "SKIPPED: the format of C++, without clang-format 14" >&2
fi
if black --version 2>/dev/null | grep -q ' 26\.'; then
  python_files | xargs black -q --check -l 100 || failed=1
fi

# Text files alone; tools without a name's ending are among them.
git ls-files | grep -Ev '^(fuzz/corpus|tests/data)/|\.(abi|gguf|ipynb|json|svg|txt)$' |
  cat - <(git ls-files '*CMakeLists.txt') | perl -CSD -ne '
    chomp(my $file = $_);
    next unless -f $file && -T $file;
    open(my $lines, "<:encoding(UTF-8)", $file) or die "$file: $!\n";
    my ($code, $printed) = (0, 0);
    while (my $line = <$lines>) {
      chomp $line;
      $code = !$code if $line =~ /^\s*```/;
      $printed = 1 if $line =~ /# format: as printed/;
      $printed = 0 if $printed && $line =~ /^"""/;
      next if length($line) <= 100 || $line =~ /^\s*(wget -nd )?\S+$/ || $printed;
      next if $file =~ /\.md$/ && ($line =~ /^(\s*\||\[|<)/ || $code && $line =~ /^(data: )?[{"]/);
      print "$file:$.: ", length($line), " columns; at most 100\n";
      $found = 1;
    }
    END { exit($found ? 1 : 0) }' >&2 || failed=1
if [ -n "$failed" ]; then
  echo "check-format.sh: run make format; the rest is done by hand" >&2
  exit 1
fi
