// A test harness as small as can be, so that the core's tests need nothing but a compiler.
//
//   TEST(AddsUp) { EXPECT_EQ(1 + 1, 2); }
//
// Each *_test.cc is one program; the first argument, if any, selects tests whose names contain it.
// A failed expectation prints what was seen and the test goes on.

#ifndef AUTODIST_CORE_TESTING_H_
#define AUTODIST_CORE_TESTING_H_

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/box.h"

namespace autodist::testing {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

struct Registration {
  Registration(const char* name, void (*body)()) { Tests().push_back(Test{name, body}); }
};

template <typename T>
std::string Show(const T& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}
inline std::string Show(const std::optional<std::string>& value) {
  return value ? '"' + *value + '"' : "nullopt";
}
inline std::string Show(std::nullopt_t) { return "nullopt"; }
inline std::string Show(const std::vector<int64_t>& value) { return DimsToString(value); }
inline std::string Show(const std::vector<int>& value) {
  return DimsToString(Dims(value.begin(), value.end()));
}

template <typename A, typename B>
void ExpectEqual(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  ++Failures();
  std::fprintf(stderr, "%s:%d: %s\n  left:  %s\n  right: %s\n", file, line, text, Show(a).c_str(),
               Show(b).c_str());
}

// A layout found by cutting: a random tiling of `shape`. Every so often a box is empty.
inline std::vector<Box> RandomTiling(const Dims& shape, std::mt19937* random) {
  std::vector<Box> boxes = {Box::Whole(shape)};
  if (shape.empty()) return boxes;
  const int cuts = static_cast<int>((*random)() % 6);
  for (int i = 0; i < cuts; ++i) {
    const size_t chosen = (*random)() % boxes.size();
    const size_t axis = (*random)() % shape.size();
    Box first = boxes[chosen];
    Box second = first;
    const int64_t at = static_cast<int64_t>((*random)() % (first.extent[axis] + 1));
    first.extent[axis] = at;
    second.start[axis] += at;
    second.extent[axis] -= at;
    boxes[chosen] = first;
    boxes.push_back(second);
  }
  return boxes;
}

// Rank 0 to 4, dimensions of 0, 1, primes and others.
inline Dims RandomShape(std::mt19937* random) {
  static constexpr int64_t kSizes[] = {1, 2, 3, 4, 5, 6, 7, 11, 0};
  Dims shape((*random)() % 5);
  for (int64_t& size : shape) {
    // Zero is rarer, else most tensors would be empty.
    size = kSizes[(*random)() % ((*random)() % 4 == 0 ? 9 : 8)];
  }
  return shape;
}

// The index of each element of `box` in the whole tensor of `shape`, one by one.
inline std::vector<int64_t> FlatIndices(const Dims& shape, const Box& box) {
  std::vector<int64_t> indices;
  Dims at(shape.size(), 0);
  for (int64_t n = 0; n < box.elements(); ++n) {
    int64_t flat = 0;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      flat = flat * shape[axis] + box.start[axis] + at[axis];
    }
    indices.push_back(flat);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++at[axis] < box.extent[axis]) break;
      at[axis] = 0;
    }
  }
  return indices;
}

}  // namespace autodist::testing

#define TEST(name)                                                                       \
  static void Test##name();                                                              \
  static const ::autodist::testing::Registration registration_##name(#name, Test##name); \
  static void Test##name()

#define EXPECT_EQ(a, b) ::autodist::testing::ExpectEqual((a), (b), #a " == " #b, __FILE__, __LINE__)
#define EXPECT_TRUE(a) ::autodist::testing::ExpectEqual(bool(a), true, #a, __FILE__, __LINE__)

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

#endif  // AUTODIST_CORE_TESTING_H_
