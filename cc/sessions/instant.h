// Variables as they were at one instant, for a save that writes them while training goes on.
//
//   not in copy-on-read mode   referred to: whoever updates them copies them first
//   in copy-on-read mode       an image of their memory (images/memory_image.h)
//   of elements of any size    copied
//
// The locks of all variables are held together, in TensorFlow's order, for as long as that takes:
// at that instant no update of one of them is half done.

#ifndef AUTODIST_SESSIONS_INSTANT_H_
#define AUTODIST_SESSIONS_INSTANT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "images/memory_image.h"
#include "sessions/joint_locks.h"
#include "sessions/variable_sources.h"

namespace autodist {

enum class ImageMethod { kPages, kFork, kCopy };

struct InstantOptions {
  // Tried one after the other.
  std::vector<ImageMethod> methods = {ImageMethod::kPages, ImageMethod::kFork, ImageMethod::kCopy};
  // Of a copy, or of what is kept of pages that are overwritten.
  int64_t memory_bytes = 256 << 20;
  std::string spill_directory;  // for more such pages; empty: then the save fails
};

// What was taken, and how.
struct Instant {
  std::shared_ptr<MemoryImage> image;  // null if no variable needs one; keeps their buffers
  std::optional<ImageMethod> method;
  std::string refused;            // which methods were not possible, and why
  double lock_seconds = 0;        // how long the locks were held
  std::optional<size_t> missing;  // the first of the values that has none; nothing was taken
};

std::string MethodName(ImageMethod method);

// The methods of these names, but for unknown ones.
std::vector<ImageMethod> ImageMethods(const std::vector<std::string>& names);

// Takes variables at one instant, step by step: Prepare(), Lock() or LockUntil(), Take(), Unlock(),
// all in one thread; after a Take() that failed, or that is not used, from the beginning.
class InstantTaker {
 public:
  using Clock = JointLocks::Clock;

  // `values` outlive it.
  InstantTaker(std::vector<SourceValue>* values, InstantOptions options);
  InstantTaker(const InstantTaker&) = delete;
  InstantTaker& operator=(const InstantTaker&) = delete;

  // Prepares an image by the first method that is possible. Does nothing if one is prepared.
  // FailedPrecondition, with the reasons, if no method is possible.
  absl::Status Prepare();

  // Locks all variables exclusively: writers of one in copy-on-read mode may hold it as shared.
  void Lock() { locks_.Lock(); }
  // The same; false, and nothing is locked, if that is not possible before `until`.
  bool LockUntil(Clock::time_point until) { return locks_.LockUntil(until); }

  // Under the locks. An error: the variables are not those that were prepared, or there is no image
  // of them.
  absl::Status Take();

  void Unlock() { locks_.Unlock(); }  // if they are locked

  // Once, after Take() was ok: gives each variable of the values its tensor and image.
  Instant Finish();

 private:
  // A variable of the save, once.
  struct Taken {
    tensorflow::Var* variable;
    bool has_image = false;  // as it was when the image was prepared
    bool has_value = false;
    bool is_fixed = false;
    tensorflow::Tensor prepared = {};  // as it was then; not freed under the locks
    tensorflow::Tensor tensor = {};
  };

  void NextMethod();
  absl::Status NoMethodError() const;
  absl::Status PrepareImage();
  absl::Status TakeAll();

  std::vector<SourceValue>& values_;
  const InstantOptions options_;
  std::vector<Taken> taken_;  // in TensorFlow's order for their locks
  size_t method_ = 0;         // that is tried
  int preparations_ = 0;      // by that method
  std::string refused_;       // the methods before it, and why
  absl::Status failure_;      // the last one
  std::unique_ptr<MemoryImage> image_;
  std::vector<MemoryRange> ranges_;
  bool needs_preparation_ = true;
  JointLocks locks_;  // released first
};

// Takes all `values` that are variables at one instant: afterwards each has a tensor, and
// `image` where its bytes are read through that. FailedPrecondition if no method is possible.
// If there is one method, it is meant: pages are protected also where the kernel's own writes to
// them may fail (page_guard.h).
absl::StatusOr<Instant> TakeInstant(std::vector<SourceValue>* values,
                                    const InstantOptions& options);

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_INSTANT_H_
