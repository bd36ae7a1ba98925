// Variables in a resource manager of their own, for tests.

#ifndef AUTODIST_SESSIONS_TESTING_VARIABLES_H_
#define AUTODIST_SESSIONS_TESTING_VARIABLES_H_

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sessions/pinned_variables.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist::testing {

// Vectors v0, v1, ... of floats.
class Variables {
 public:
  Variables(int count, int64_t size, float value, bool in_place = false) : count_(count) {
    for (int i = 0; i < count; ++i) {
      auto* const variable = new tensorflow::Var(tensorflow::DT_FLOAT);
      *variable->tensor() = Filled(size, value);
      variable->is_initialized = true;
      variable->copy_on_read_mode.store(in_place);
      TF_CHECK_OK(manager_.Create("localhost", Name(i), variable));
    }
  }

  static std::string Name(int number) { return absl::StrCat("v", number); }

  static tensorflow::Tensor Filled(int64_t size, float value) {
    tensorflow::Tensor tensor(tensorflow::DT_FLOAT, tensorflow::TensorShape({size}));
    tensor.flat<float>().setConstant(value);
    return tensor;
  }

  int count() const { return count_; }

  // As AutodistPinVariables makes them.
  PinnedVariables Pins() {
    PinnedVariables::Variables pinned(count_);
    for (int i = 0; i < count_; ++i) {
      pinned[i].handle.set_container("localhost");
      pinned[i].handle.set_name(Name(i));
      pinned[i].handle.set_hash_code(tensorflow::TypeIndex::Make<tensorflow::Var>().hash_code());
      pinned[i].manager = &manager_;
      Find(i, &pinned[i].variable);
    }
    return PinnedVariables(std::move(pinned));
  }

  // The values of all variables.
  std::vector<tensorflow::Tensor> Tensors() {
    std::vector<tensorflow::Tensor> tensors(count_);
    for (int i = 0; i < count_; ++i) {
      tensorflow::core::RefCountPtr<tensorflow::Var> variable;
      if (Find(i, &variable)) tensors[i] = *variable->tensor();
    }
    return tensors;
  }
  // The same; the variables have none any more.
  std::vector<tensorflow::Tensor> TakeTensors() {
    std::vector<tensorflow::Tensor> tensors(count_);
    for (int i = 0; i < count_; ++i) {
      tensorflow::core::RefCountPtr<tensorflow::Var> variable;
      if (Find(i, &variable)) tensors[i] = std::move(*variable->tensor());
    }
    return tensors;
  }

  // The value of all elements of a variable; nothing where it has none; NaN where they differ.
  std::optional<float> Value(int number) {
    tensorflow::core::RefCountPtr<tensorflow::Var> variable;
    if (!Find(number, &variable)) return std::nullopt;
    tensorflow::tf_shared_lock lock(*variable->mu());
    if (!variable->is_initialized) return std::nullopt;
    const auto values = variable->tensor()->flat<float>();
    for (int64_t i = 0; i < values.size(); ++i) {
      if (values(i) != values(0)) return std::numeric_limits<float>::quiet_NaN();
    }
    return values(0);
  }

 private:
  bool Find(int number, tensorflow::core::RefCountPtr<tensorflow::Var>* variable) {
    tensorflow::Var* found = nullptr;
    if (!manager_.Lookup("localhost", Name(number), &found).ok()) return false;
    variable->reset(found);
    return true;
  }

  const int count_;
  tensorflow::ResourceMgr manager_;
};

}  // namespace autodist::testing

#endif  // AUTODIST_SESSIONS_TESTING_VARIABLES_H_
