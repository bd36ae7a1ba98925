// Runs the tests that are linked into a program.

#include <cstdio>
#include <cstring>

#include "core/testing/testing.h"

int main(int argc, char** argv) {
  int count = 0;
  for (const auto& test : autodist::testing::Tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = autodist::testing::Failures();
    test.body();
    ++count;
    std::printf("%s %s\n", autodist::testing::Failures() == before ? "ok    " : "FAILED",
                test.name);
  }
  return autodist::testing::Failures() == 0 && count > 0 ? 0 : 1;
}
