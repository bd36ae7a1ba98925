// Writes a file past the kernel's page cache (O_DIRECT), in whole blocks.
//
// Whoever writes gives bytes at any offset and of any size. They are put together in blocks that
// are aligned in the file and in memory. A block that is full goes to the disk, while others are
// put together and several are on their way:
//
//   WriteAt()   [..block 0..][..block 1..]   copy, by the threads of the save
//   threads of this object      write 0 | write 1 | write 2 | write 3      at once
//
// The end of the file that is less than a block of the disk goes through the page cache, and so do
// blocks for which there is no memory.

#ifndef AUTODIST_STORAGE_POSIX_DIRECT_WRITES_H_
#define AUTODIST_STORAGE_POSIX_DIRECT_WRITES_H_

#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "storage/posix/posix_io.h"
#include "storage/posix/uninherited_descriptor.h"

namespace autodist {

// Thread-safe, but for Flush() and the destructor. Each byte is written once.
class DirectWrites {
 public:
  // Opens the file `name` of an open directory once more. Null where its file system has no such
  // writes. `file`, the same one, outlives this object and has `size_bytes`.
  static std::unique_ptr<DirectWrites> Open(int directory, const std::string& name,
                                            const PosixFile* file, int64_t size_bytes);

  // Ends the threads. What was not flushed may be written or not.
  ~DirectWrites();
  DirectWrites(const DirectWrites&) = delete;
  DirectWrites& operator=(const DirectWrites&) = delete;

  // Writes bytes, which may go afterwards. An error may be that of an earlier call.
  absl::Status WriteAt(int64_t offset, absl::string_view bytes);

  // Returns once all bytes are written, though not synced. Internal if some never came.
  absl::Status Flush();

 private:
  static constexpr int64_t kBytes = int64_t{1} << 20;  // of a block
  static constexpr int64_t kAlignment = 4096;
  static constexpr size_t kWritesInFlight = 4;
  // Full blocks that wait for one of the threads, at most.
  static constexpr size_t kMostWaiting = 4;

  using Memory = std::unique_ptr<char, decltype(&std::free)>;

  // A block that is put together.
  struct Block {
    int64_t offset;  // in the file
    int64_t size;
    Memory memory{nullptr, &std::free};  // null: its bytes are written as they come
    int64_t filled_bytes = 0;
  };

  DirectWrites(UninheritedDescriptor descriptor, const PosixFile* file, int64_t size_bytes);

  Block* BlockAt(int64_t offset);
  // Gives a full block to a thread; writes it here if none can be started.
  absl::Status Hand(std::unique_ptr<Block> block);
  void WriteBlocks();
  absl::Status WriteFull(const Block& block);
  void Recycle(std::unique_ptr<Block> block);

  UninheritedDescriptor descriptor_;
  const PosixFile& file_;
  const int64_t size_bytes_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, std::unique_ptr<Block>> open_;  // by number
  std::deque<std::unique_ptr<Block>> full_;
  std::vector<Memory> free_;
  std::vector<std::thread> threads_;
  size_t writing_ = 0;
  bool is_ending_ = false;
  bool is_refused_ = false;  // the file system takes no such writes after all
  absl::Status status_;
};

}  // namespace autodist

#endif  // AUTODIST_STORAGE_POSIX_DIRECT_WRITES_H_
