// Where the values of a save come from, seen from the writer.
//
// A source is one replica of one shard, known by its number. The writer asks for the values of a
// few sources at a time. Sources that must be read at one instant are asked for together. The owner
// of the sources decides whether that means holding locks.

#ifndef AUTODIST_SAVE_DATA_SOURCES_H_
#define AUTODIST_SAVE_DATA_SOURCES_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "images/byte_reader.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Values that do not change while this object lives, one per source asked for.
// Destroyed by the thread that acquired it.
class HeldValues {
 public:
  virtual ~HeldValues() = default;
  const std::vector<tensorflow::Tensor>& tensors() const { return tensors_; }

  // Through which the bytes of a tensor are read; null where they are on the host and do not
  // change.
  ByteReader* reader(size_t index) const { return readers_.empty() ? nullptr : readers_[index]; }

  // Whether nobody at all can change the bytes of a tensor: they may be summed now and read again
  // when they are written. Of all others the bytes are copied first, so that the sum is that of
  // what is written whatever the program does.
  bool is_fixed(size_t index) const { return !fixed_.empty() && fixed_[index]; }

 protected:
  std::vector<tensorflow::Tensor> tensors_;
  std::vector<ByteReader*> readers_;  // by tensor, or empty if there are none
  std::vector<bool> fixed_;           // by tensor, or empty if none is
};

// Thread-safe.
class Sources {
 public:
  virtual ~Sources() = default;

  // How long the caller will hold the values: kBrief is the time it takes to copy them, kLong that
  // of writing them to a file.
  enum class Hold { kBrief, kLong };

  // The values as they are at one instant. While a thread holds values it acquires no others.
  virtual absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(absl::Span<const int> sources,
                                                              Hold hold) = 0;

  // The same, copied where that is needed to hold no lock afterwards.
  virtual absl::StatusOr<std::vector<tensorflow::Tensor>> Snapshot(
      absl::Span<const int> sources) = 0;

  // Whether some values can be read once only, because what was read is let go.
  virtual bool are_read_once() const { return false; }

  // Once nothing is asked for any more. Not ok: what was given may be of another time.
  virtual absl::Status Finish() { return absl::OkStatus(); }
};

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_SOURCES_H_
