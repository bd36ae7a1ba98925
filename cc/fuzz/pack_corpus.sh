#!/usr/bin/env bash
# Packs a corpus into corpus.tar.gz, always to the same bytes for the same files.
#
#     pack_corpus.sh DIRECTORY
#
# DIRECTORY holds one directory of inputs for each fuzzer, as build/fuzz/cc/fuzz/corpus does after `make fuzz`.
set -euo pipefail
archive="$(cd "$(dirname "$0")" && pwd)/corpus.tar.gz"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
  --directory="$1" --create index shape_and_slice slices strings tables | gzip -n9 > "$archive"
