#!/usr/bin/env bash
# The Depends line of a cross-built package: the packages of the libraries that its files need,
# which dpkg-shlibdeps can tell only of this machine's own architecture.
# usage: shlib-depends.sh SYSROOT FILE...    (SYSROOT: the folder of scripts/make-sysroot.sh)
set -euo pipefail

info=$1/var/lib/dpkg/info
shift

# "PACKAGE (>= VERSION)" for a library such as libjpeg.so.62, by the .shlibs files: "libjpeg 62
# libjpeg62-turbo (>= 1:2.1.5)".
package_of() {
  local soname=$1 name=${1%.so.*} version=${1##*.so.} line package
  line=$(awk -v name="$name" -v version="$version" \
    '$1 == name && $2 == version { sub(/^[^ ]+ [^ ]+ /, ""); print; exit }' "$info"/*.shlibs)
  if [ -z "$line" ]; then
    echo "shlib-depends.sh: no package in $info has $soname" >&2
    return 1
  fi
  if [[ $line != *'('* ]]; then  # any version, it says; ours is known to do
    package=$line
    version=$(awk -v package="$package" '$1 == package { print $2 }' "$info/versions")
    line="$package (>= ${version%-*})"
  fi
  echo "$line"
}

{
  for file in "$@"; do
    for soname in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      case $soname in
        ld-linux-*) ;;
        libblip.so.*) ;;
        libc.so.* | libm.so.*)  # the newest of its symbols that are used
          newest=$(readelf -V "$@" | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -n 1)
          echo "libc6 (>= ${newest#GLIBC_})" ;;
        *) package_of "$soname" ;;
      esac
    done
  done
} | sort -u | paste -sd ',' | sed 's/,/, /g'
