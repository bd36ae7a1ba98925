#!/usr/bin/env bash
# Builds the fuzzers and runs each for so many seconds, from its corpus.
#
#     run.sh PYTHON SECONDS
#
# They need clang, which comes with libFuzzer; where there is none and this is root, it is installed from Debian's
# packages. New inputs go into build/fuzz/new, what was found to crash into build/fuzz/crashes: minimize that
# (-minimize_crash=1), mend the code and put it into build/fuzz/cc/fuzz/corpus, which the build unpacks. Then
# pack_corpus.sh makes the archive of it, which every `ctest` runs, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
seconds=$2

find_clang() {
  for version in "" -21 -20 -19 -18 -17 -16; do
    if command -v "clang++$version" > /dev/null; then
      echo "clang++$version"
      return
    fi
  done
}

if [[ -z "$(find_clang)" && "$(id -u)" == 0 ]]; then
  apt-get update && apt-get install -y --no-install-recommends clang-19 libclang-rt-19-dev llvm-19
fi
clang=$(find_clang)
if [[ -z "$clang" ]]; then
  echo "make fuzz needs clang++ 16 or later with libFuzzer, as in Debian's clang-19 and libclang-rt-19-dev" >&2
  exit 1
fi

cmake --preset fuzz -DPython_EXECUTABLE="$python" -DCMAKE_CXX_COMPILER="$clang"
cmake --build --preset fuzz
mkdir -p build/fuzz/crashes
for name in index slices strings shape_and_slice tables; do
  mkdir -p "build/fuzz/new/$name"
  # A single allocation of more than 16 MiB is a crash, too: no file here holds as much.
  nice -n 19 "build/fuzz/cc/fuzz/${name}_fuzzer" -max_total_time="$seconds" -malloc_limit_mb=16 \
    -rss_limit_mb=2048 -timeout=25 -use_value_profile=1 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/crashes/$name-" "build/fuzz/new/$name" "build/fuzz/cc/fuzz/corpus/$name"
done
