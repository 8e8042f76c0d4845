#!/usr/bin/env bash
# Says which files the formatters would write otherwise (clang-format 14 of Debian 12 for C++, black
# 26 for Python where it is installed) and which lines have over 100 columns. --write formats
# instead. Long lines are allowed where nothing can break them: a line of one word, tables and code
# blocks in Markdown (commands and their output stand as they are), texts that a program prints or
# reads (Python, which black breaks), and examples in languages with formatters of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=

if [ "${1:-}" = --write ]; then
  git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format -i
  ! command -v black >/dev/null || git ls-files -z '*.py' | xargs -0 black -q -l 100
  exit 0
fi

if clang-format --version | grep -q 'version 14\.'; then
  git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format --dry-run -Werror || failed=1
else
  echo "SKIPPED: the format of C++, without clang-format 14" >&2
fi
if black --version 2>/dev/null | grep -q ' 26\.'; then
  git ls-files -z '*.py' | xargs -0 black -q --check -l 100 || failed=1
fi

git ls-files '*.h' '*.cpp' '*.c' '*.in' '*.sh' '*.cmake' '*CMakeLists.txt' '*.md' '*.yml' Makefile |
  grep -v '^fuzz/corpus/\|_zh\.md$' | perl -CSD -ne '
    chomp(my $file = $_);
    open(my $lines, "<:encoding(UTF-8)", $file) or die "$file: $!\n";
    my $code = 0;
    while (my $line = <$lines>) {
      chomp $line;
      $code = !$code if $line =~ /^\s*```/;
      next if length($line) <= 100 || $line =~ /^\s*\S+$/;
      next if $file =~ /\.md$/ && ($code || $line =~ /^(\s*\||    |\[|<)/);
      print "$file:$.: ", length($line), " columns; at most 100\n";
      $found = 1;
    }
    END { exit($found ? 1 : 0) }' >&2 || failed=1
if [ -n "$failed" ]; then
  echo "check-format.sh: run make format; the rest is done by hand" >&2
  exit 1
fi
