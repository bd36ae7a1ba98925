// Runs a fuzzer over its corpus where there is no libFuzzer: one file of a directory after the
// other.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "storage/testing/testing_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  int count = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      const std::string bytes = autodist::testing::ReadFile(entry.path().string());
      std::printf("%s\n", entry.path().filename().c_str());
      std::fflush(stdout);
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
      ++count;
    }
  }
  return count > 0 ? 0 : 1;
}
