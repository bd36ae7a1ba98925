// Where libFuzzer, or run_corpus.cc in its place, enters a fuzzer.

#include <cstddef>
#include <cstdint>

#include "fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  autodist::fuzz::FuzzInput input(data, size);
  autodist::fuzz::Fuzz(&input);
  return 0;
}
