// A test harness as small as can be, so that the core's tests need nothing but a compiler.
//
//   TEST(AddsUp) { EXPECT_EQ(1 + 1, 2); }
//
// main.cc runs the tests of a program. Its first argument, if any, selects tests by a part of their
// names. A failed expectation prints what was seen and the test goes on.

#ifndef AUTODIST_CORE_TESTING_TESTING_H_
#define AUTODIST_CORE_TESTING_TESTING_H_

#include <cstdint>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "core/boxes/box.h"
#include "core/testing/testing_boxes.h"

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

}  // namespace autodist::testing

#define TEST(name)                                                                       \
  static void Test##name();                                                              \
  static const ::autodist::testing::Registration registration_##name(#name, Test##name); \
  static void Test##name()

#define EXPECT_EQ(a, b) ::autodist::testing::ExpectEqual((a), (b), #a " == " #b, __FILE__, __LINE__)
#define EXPECT_TRUE(a) ::autodist::testing::ExpectEqual(bool(a), true, #a, __FILE__, __LINE__)

#endif  // AUTODIST_CORE_TESTING_TESTING_H_
