// Variables as they were at one instant, for a save that writes them while training goes on.
//
//   variable                                       what the save keeps of it
//   not in copy-on-read mode                       a reference: the next update copies it first
//   in copy-on-read mode                           an image of its memory (images/memory_image.h)
//   in that mode, with elements of varying size    a copy
//   in that mode, on an accelerator                a copy there
//
// Meanwhile the save holds the locks of all variables together. So no update of one of them is half
// done.

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
  // The methods to try, one after the other.
  std::vector<ImageMethod> methods = {ImageMethod::kPages, ImageMethod::kFork, ImageMethod::kCopy};
  // The most memory for a copy, or for copies of pages that are overwritten.
  int64_t memory_bytes = 256 << 20;
  std::string spill_directory;  // for a file with more such pages; empty: the save fails instead
};

// What was taken, and how.
struct Instant {
  std::shared_ptr<MemoryImage> image;  // with the buffers of its variables; null if none needs one
  std::optional<ImageMethod> method;
  bool has_device_copies = false;
  std::string refused;            // which methods were not possible, and why
  double lock_seconds = 0;        // how long the locks were held
  std::optional<size_t> missing;  // the first variable without a value; then nothing was taken
};

std::string MethodName(ImageMethod method);

// How the variables of an instant that are updated by rows were kept: a method, and "device copies"
// for those on accelerators; empty if there are none.
std::string MethodsOf(const Instant& instant);

// Returns the methods of these names. Leaves out unknown names.
std::vector<ImageMethod> ImageMethods(const std::vector<std::string>& names);

// Takes variables at one instant. One thread calls Prepare(), Lock() or LockUntil(), Take() and
// Unlock(), and at the end Finish(). If Take() has failed, or if what it took is not used, the
// thread begins again with Prepare().
class InstantTaker {
 public:
  using Clock = JointLocks::Clock;

  // REQUIRES: `values` outlive this object.
  InstantTaker(std::vector<SourceValue>* values, InstantOptions options);
  InstantTaker(const InstantTaker&) = delete;
  InstantTaker& operator=(const InstantTaker&) = delete;

  // Prepares an image by the first method that is possible, and copies on accelerators. Does
  // nothing if all is prepared already. If no method is possible, returns FailedPrecondition with
  // the reason of each; likewise if a copy is not possible.
  absl::Status Prepare();

  // Locks all variables exclusively: writers of one in copy-on-read mode may hold it as shared.
  void Lock() { locks_.Lock(); }
  // The same; false, and nothing is locked, if that is not possible before `until`.
  bool LockUntil(Clock::time_point until) { return locks_.LockUntil(until); }

  // Takes the values and the image. REQUIRES: the variables are locked. An error means that
  // variables have changed since Prepare(), or that no image could be taken.
  absl::Status Take();

  void Unlock() { locks_.Unlock(); }  // if they are locked

  // Gives each variable of the values its tensor and image. REQUIRES: Take() was ok. Once.
  Instant Finish();

 private:
  // A variable of the save. One that several values name is here once.
  struct Taken {
    tensorflow::Var* variable;
    std::shared_ptr<Accelerator> accelerator = nullptr;
    bool has_image = false;        // whether the prepared image holds it
    bool has_device_copy = false;  // whether `prepared` is for a copy of it
    bool has_value = false;
    bool is_fixed = false;
    tensorflow::Tensor prepared = {};  // as it was then; not freed under the locks
    tensorflow::Tensor tensor = {};
  };

  void NextMethod();
  absl::Status NoMethodError() const;
  absl::Status PrepareImage();
  absl::Status PrepareDeviceCopies();
  static absl::Status TakeFromDevice(const tensorflow::Tensor& value, Taken* taken);
  Taken* FindTaken(tensorflow::Var* variable);
  absl::Status TakeAll();

  std::vector<SourceValue>& values_;
  const InstantOptions options_;
  std::vector<Taken> taken_;  // in TensorFlow's order for their locks
  size_t method_ = 0;         // the number of the method that is tried
  int preparations_ = 0;      // how often an image was prepared by that method
  std::string refused_;       // the methods before it, each with the reason
  absl::Status failure_;      // of the last Prepare() or Take()
  std::unique_ptr<MemoryImage> image_;
  std::vector<MemoryRange> ranges_;
  bool needs_preparation_ = true;
  JointLocks locks_;  // released first
};

// Takes all `values` that are variables at one instant. Afterwards each has a tensor. If its bytes
// are to be read through an image, it also has an `image`. FailedPrecondition if no method is
// possible. If `options` have one method only, the user has named it. Then pages are protected even
// if the kernel's own writes to them fail (page_guard.h).
absl::StatusOr<Instant> TakeInstant(std::vector<SourceValue>* values,
                                    const InstantOptions& options);

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_INSTANT_H_
