// A training that goes on while a test takes its variables at one instant.

#ifndef AUTODIST_SESSIONS_TESTING_TRAINING_H_
#define AUTODIST_SESSIONS_TESTING_TRAINING_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "images/system/page_guard.h"
#include "sessions/instant.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist::testing {

// The methods that this machine has.
inline std::vector<ImageMethod> UsableMethods() {
  std::vector<ImageMethod> methods = {ImageMethod::kFork, ImageMethod::kCopy};
  PageGuard guard;
  if (guard.Open().ok()) methods.push_back(ImageMethod::kPages);
  return methods;
}

// Adds 1 to all elements of a variable of floats, as TensorFlow's updates do it.
// REQUIRES: the variable's lock is held.
inline void AddOne(tensorflow::Var* variable) {
  if (!variable->copy_on_read_mode.load() && !variable->tensor()->RefCountIsOne()) {
    tensorflow::Tensor copy(tensorflow::DT_FLOAT, variable->tensor()->shape());
    copy.flat<float>() = variable->tensor()->flat<float>();
    *variable->tensor() = copy;
  }
  variable->tensor()->flat<float>() = variable->tensor()->flat<float>() + 1.0f;
}

// Takes a step again and again, in a thread of its own, while this object lives.
class Training {
 public:
  explicit Training(std::function<void()> step) {
    thread_ = std::thread([this, step = std::move(step)] {
      while (!ends_) {
        step();
        ++steps_;
      }
    });
  }
  ~Training() {
    ends_ = true;
    thread_.join();
  }

  // Waits until so many more steps were taken.
  void Await(int64_t steps) {
    const int64_t until = steps_ + steps;
    while (steps_ < until) std::this_thread::yield();
  }

 private:
  std::atomic<bool> ends_{false};
  std::atomic<int64_t> steps_{0};
  std::thread thread_;
};

}  // namespace autodist::testing

#endif  // AUTODIST_SESSIONS_TESTING_TRAINING_H_
