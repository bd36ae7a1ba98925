// System calls of this program that fail, for tests.
//
// The calls are defined anew in the program (failing_calls.cc), which hides those of the C library,
// and are made as always unless one is told to fail.

#ifndef AUTODIST_IMAGES_TESTING_FAILING_CALLS_H_
#define AUTODIST_IMAGES_TESTING_FAILING_CALLS_H_

#include <string>
#include <vector>

namespace autodist::testing {

// The names of all calls that can fail. An ioctl and a raw system call has a name of its own, as
// "UFFDIO_REGISTER" and "clone".
const std::vector<std::string>& CallNames();

// While it lives, a call fails: the one of that number, from 1, and if told so, all after it. One
// at a time.
class FailingCall {
 public:
  FailingCall(const std::string& name, int number, bool and_all_after, int error);
  ~FailingCall();
  FailingCall(const FailingCall&) = delete;
  FailingCall& operator=(const FailingCall&) = delete;

  // How often a call has failed so far.
  int failures() const;
};

}  // namespace autodist::testing

#endif  // AUTODIST_IMAGES_TESTING_FAILING_CALLS_H_
