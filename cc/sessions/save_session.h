// One save of a cluster, as one of its tasks holds it while it is under way.
//
// A save of several tasks is many ops that the client runs one after the other. What must live from
// one op to the next is held here under the save's id: the variables, the values that are kept
// while they are sent, and the file. If the client falls silent, the lease expires. Then nothing is
// held any more, and a file that was begun is removed.

#ifndef AUTODIST_SESSIONS_SAVE_SESSION_H_
#define AUTODIST_SESSIONS_SAVE_SESSION_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "images/memory_image.h"
#include "save/commit/bundle_files.h"
#include "save/data/captured_ranges.h"
#include "save/data/data_writer.h"
#include "sessions/gate.h"
#include "sessions/leases.h"
#include "sessions/pinned_variables.h"
#include "sessions/variable_sources.h"
#include "storage/posix/posix_io.h"
#include "streams/data_connections.h"
#include "threads/progress.h"

namespace autodist {

// Thread-safe, with the exceptions named below. An op that the client gave up continues for a
// while. It then finds the save ended, but everything it uses still exists.
class SaveSession : public Leased {
 public:
  static constexpr char kWhat[] = "save";

  using Leased::Leased;

  // The bundle that this task writes, on the chief; before anybody else has the save.
  void SetFiles(std::unique_ptr<BundleFiles> files) { files_ = std::move(files); }

  // The data file of another task's bundle; before anybody else has the save. False if this task
  // does not reach it.
  bool OpenData(const std::string& path);
  // The same, opened by the first write; before anybody else has the save.
  void SetDataPath(std::string path) { data_path_ = std::move(path); }

  // A value that can be read, by its number, and what keeps it alive.
  void AddSource(int64_t number, SourceValue value);
  void KeepAlive(PinnedVariables pins);

  // An image that sources are read through, which stays until the save ends.
  void KeepImage(std::shared_ptr<MemoryImage> image);

  // For the time in which sources are read. Once the save is ended nobody gets in.
  Gate& reading() { return reading_; }

  // The value of a source: as it was when the save began here, or was kept, or as the variable is.
  absl::StatusOr<SourceValue> Source(int64_t number);

  // Keeps sources as they are now until they are released; then they cannot be read any more. A
  // source that was referred to when the save began stays as it was; any other is copied.
  // ResourceExhausted, with its name, if all copies together would be larger than `budget_bytes`.
  absl::Status Keep(const std::vector<int64_t>& numbers, int64_t budget_bytes);
  void Release(const std::vector<int64_t>& numbers);

  // Writes bytes of the file; those that another task is to write are kept for it.
  // FailedPrecondition once the save is ended.
  absl::Status Write(int64_t offset, absl::string_view bytes);
  int64_t written_bytes() const { return written_.done_bytes(); }

  // What another task writes of the bytes that this one reads, and what is compared later with what
  // is in the file.
  CapturedRanges& given() { return given_; }
  CapturedRanges& checked() { return checked_; }

  // Over which sources are sent from one task to another. They end with the save.
  DataConnections& connections() { return connections_; }

  // The functions below end the save: they wait for threads that write a block, and nothing is
  // written any more.

  // Syncs the file of another task's bundle, if there is one and `durable`, and lets go of all but
  // what is compared later. Once more, it does nothing. An error if an image was not of one instant
  // to the end.
  absl::Status Finish(bool durable);

  // Makes the bundle that this task writes appear under its prefix. An error, likewise, before
  // that.
  absl::Status Commit(const BundleFiles::IndexOf& index);

  // Removes what was written, unless it was committed, and releases the lock of the prefix.
  void Drop();

 private:
  absl::Status WriteToFile(int64_t offset, absl::string_view bytes);

  struct Kept {
    tensorflow::Tensor value;
    int64_t copied_bytes;
    bool is_fixed;
    std::shared_ptr<DeviceReader> device_reader;  // as that of a source
  };

  absl::Status KeepOne(int64_t number, int64_t budget_bytes);
  void ReleaseValues();
  absl::Status EndImages();

  Progress written_;
  Gate writing_;
  Gate reading_;
  std::mutex ending_;  // taken before mutex_
  // Used by threads that are inside `writing_`, or that have closed it and hold `ending_`.
  std::unique_ptr<BundleFiles> files_;
  std::unique_ptr<PosixFile> data_;
  std::string data_path_;  // of one that is not open yet

  // Guarded by `ending_`. They exist as long as this, for ops that were given up.
  std::vector<std::shared_ptr<MemoryImage>> images_;
  std::optional<absl::Status> images_status_;  // once they have ended

  std::mutex mutex_;  // of what follows, and of the opening of `data_`
  std::vector<PinnedVariables> pins_;
  std::unordered_map<int64_t, SourceValue> sources_;
  std::unordered_map<int64_t, Kept> kept_;
  int64_t copied_bytes_ = 0;  // those that are being copied included

  CapturedRanges given_;
  CapturedRanges checked_;
  DataConnections connections_;
};

using SaveSessions = Leases<SaveSession>;

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_SAVE_SESSION_H_
