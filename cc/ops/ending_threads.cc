// Python threads that are in C++ code while the interpreter ends.

#include "ops/ending_threads.h"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <mutex>

namespace autodist {
namespace {

std::terminate_handler former_handler = nullptr;
thread_local bool is_terminating = false;

// Returns unless this thread is being ended by pthread_exit. REQUIRES: a terminate handler calls
// it.
void HoldIfEnding() {
  // Where nothing was thrown, `throw` calls the handler once more.
  if (is_terminating) return;
  is_terminating = true;
  try {
    throw;
  } catch (const abi::__forced_unwind&) {
    // Leaving this block would abort.
    while (true) pause();
  } catch (...) {
  }
}

[[noreturn]] void HoldOrTerminate() {
  HoldIfEnding();
  if (former_handler != nullptr) former_handler();
  std::abort();
}

}  // namespace

void HoldEndingThreads() {
  static std::once_flag once;
  std::call_once(once, [] { former_handler = std::set_terminate(HoldOrTerminate); });
}

}  // namespace autodist
