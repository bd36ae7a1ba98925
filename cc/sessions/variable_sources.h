// The values of a save, taken from variables in place.
//
// TensorFlow's rules (2.21, framework/resource_var.h): While a variable is not in copy-on-read
// mode, an update copies it first if someone else refers to its buffer. So a reference taken under
// the shared lock keeps its value. In copy-on-read mode updates write in place, some under the
// shared lock only, and saves do not switch the mode off. So the value is stable only under the
// exclusive lock. If the mode is switched on after a reference was taken, the variable gets a new
// buffer first.
//
// So when a save begins, it takes references to all variables that are not in copy-on-read mode, at
// one instant (referenced_variables.h). It reads the others when it writes them.
//
// A variable on an accelerator is read through blocks of host memory (device_reader.h). Updates of
// it are queued under its lock, and a copy waits for all that was queued before. So what holds for
// the lock of a variable on a processor holds for that one, too.
//
// Variables that must be read at one instant are locked together, in the order of their mutexes'
// addresses, which is TensorFlow's own rule. The thread that takes a lock also releases it. If
// replicas of a shard are in different modes, the save reads all of them when it writes the shard.

#ifndef AUTODIST_SESSIONS_VARIABLE_SOURCES_H_
#define AUTODIST_SESSIONS_VARIABLE_SOURCES_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "accelerators/accelerator.h"
#include "accelerators/device_reader.h"
#include "images/memory_image.h"
#include "save/data/sources.h"
#include "save/plan/save_plan.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

enum class LockMode {
  kBlock,  // a variable in copy-on-read mode is locked while it is written
  kCopy,   // while it is copied; one copy at a time
};

// A variable, which must outlive the save, or a plain tensor.
struct SourceValue {
  tensorflow::Var* variable = nullptr;
  // Whether the save has a reference: `tensor`, which does not change, or which is read through
  // `image`.
  bool is_referenced = false;
  tensorflow::Tensor tensor;      // where `variable` is null or referenced
  bool is_fixed = false;          // nobody can change the bytes of `tensor` while this refers to it
  ByteReader* image = nullptr;    // through which `tensor` is read; outlives the save
  tensorflow::DataType dtype;     // as the save was planned
  tensorflow::TensorShape shape;  // likewise
  std::string name = {};          // for messages; may be empty
  // Whose memory holds the value; null: the host's.
  std::shared_ptr<Accelerator> accelerator = nullptr;
  std::shared_ptr<DeviceReader> device_reader = nullptr;  // what `image` is then

  bool has_tensor() const { return variable == nullptr || is_referenced; }
};

SourceValue TensorValue(const tensorflow::Tensor& tensor);

// Notes that a variable's value is `tensor`, which does not change.
void Refer(const tensorflow::Tensor& tensor, bool is_fixed, SourceValue* value);

// Takes references, at one instant, to all variables that are not in copy-on-read mode, and notes
// dtypes, shapes, and which are fixed. Returns the first variable that has no value. No update
// waits longer than for another update of one of the variables.
std::optional<size_t> ReferenceValues(std::vector<SourceValue>* values, double* lock_seconds);

class VariableSources : public Sources {
 public:
  // `lock_seconds`: for how long the variables were locked before.
  // `image`: through which values are read; may be null.
  VariableSources(std::vector<SourceValue> values, LockMode mode, double lock_seconds = 0,
                  std::shared_ptr<MemoryImage> image = nullptr)
      : values_(std::move(values)),
        mode_(mode),
        image_(std::move(image)),
        max_lock_seconds_(lock_seconds) {}

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                      Hold hold) override;
  absl::StatusOr<std::vector<tensorflow::Tensor>> Snapshot(absl::Span<const int> sources) override;
  bool are_read_once() const override { return image_ != nullptr; }
  absl::Status Finish() override { return image_ ? image_->Finish() : absl::OkStatus(); }

  // The longest time a variable was locked so far.
  double max_lock_seconds() const;

 private:
  class Held;
  class Locks;

  std::vector<tensorflow::Var*> VariablesInLockOrder(absl::Span<const int> sources) const;
  bool AllHaveTensors(absl::Span<const int> sources) const;
  std::vector<tensorflow::Tensor> TensorsOf(absl::Span<const int> sources) const;
  std::vector<ByteReader*> ImagesOf(absl::Span<const int> sources) const;
  std::vector<bool> FixedOf(absl::Span<const int> sources) const;
  void NoteLockTime(double seconds);

  const std::vector<SourceValue> values_;
  const LockMode mode_;
  const std::shared_ptr<MemoryImage> image_;
  std::mutex copy_mutex_;  // held while a copy exists; taken before any variable's lock
  mutable std::mutex time_mutex_;
  double max_lock_seconds_;
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_VARIABLE_SOURCES_H_
