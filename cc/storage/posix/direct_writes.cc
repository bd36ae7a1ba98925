#include "storage/posix/direct_writes.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

// Whether an error of a write says that it cannot be made past the page cache.
bool IsRefused(int error) {
  return error == EINVAL || error == EOPNOTSUPP || error == ENOTSUP || error == ENOSYS;
}

}  // namespace

std::unique_ptr<DirectWrites> DirectWrites::Open(int directory, const std::string& name,
                                                 const PosixFile* file, int64_t size_bytes) {
  UninheritedDescriptor descriptor([&] {
    return Uninterrupted([&] {
      return openat(directory, name.c_str(), O_WRONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);
    });
  });
  if (descriptor.get() < 0) return nullptr;
  return std::unique_ptr<DirectWrites>(new DirectWrites(std::move(descriptor), file, size_bytes));
}

DirectWrites::DirectWrites(UninheritedDescriptor descriptor, const PosixFile* file,
                           int64_t size_bytes)
    : descriptor_(std::move(descriptor)), file_(*file), size_bytes_(size_bytes) {
  // Threads that were started are always noted, and memory that comes back.
  threads_.reserve(kWritesInFlight);
  free_.reserve(kWritesInFlight + kMostWaiting);
}

DirectWrites::~DirectWrites() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_ending_ = true;
    full_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// REQUIRES: mutex_ is held.
DirectWrites::Block* DirectWrites::BlockAt(int64_t offset) {
  std::unique_ptr<Block>& block = open_[offset / kBytes];
  if (block != nullptr) return block.get();
  auto opened = std::make_unique<Block>();
  opened->offset = offset / kBytes * kBytes;
  opened->size = std::min(kBytes, size_bytes_ - opened->offset);
  if (free_.empty()) {
    opened->memory.reset(static_cast<char*>(std::aligned_alloc(kAlignment, kBytes)));
  } else {
    opened->memory = std::move(free_.back());
    free_.pop_back();
  }
  block = std::move(opened);
  return block.get();
}

absl::Status DirectWrites::WriteAt(int64_t offset, absl::string_view bytes) {
  while (!bytes.empty()) {
    if (offset < 0 || offset >= size_bytes_) {
      return absl::InternalError(absl::StrCat("offset ", offset, " of ", file_.path(),
                                              ", which has ", size_bytes_, " bytes"));
    }
    Block* block;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!status_.ok()) return status_;
      block = BlockAt(offset);
    }
    const int64_t begin = offset - block->offset;
    const int64_t piece = std::min<int64_t>(bytes.size(), block->size - begin);
    if (piece <= 0) return absl::InternalError("bytes beyond the end of the data file");
    if (block->memory != nullptr) {
      std::memcpy(block->memory.get() + begin, bytes.data(), piece);
    } else {
      const absl::Status status = file_.WriteAt(offset, bytes.substr(0, piece));
      if (!status.ok()) return status;
    }
    bytes.remove_prefix(piece);
    offset += piece;
    std::unique_ptr<Block> full;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      block->filled_bytes += piece;
      if (block->filled_bytes == block->size) {
        const auto found = open_.find(block->offset / kBytes);
        full = std::move(found->second);
        open_.erase(found);
      }
    }
    if (full == nullptr || full->memory == nullptr) continue;
    const absl::Status status = Hand(std::move(full));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DirectWrites::Hand(std::unique_ptr<Block> block) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return full_.size() < kMostWaiting || !status_.ok(); });
  if (!status_.ok()) return status_;
  if (threads_.size() < kWritesInFlight && writing_ + full_.size() >= threads_.size()) {
    Guarded([this] {
      threads_.emplace_back([this] { WriteBlocks(); });
      return absl::OkStatus();
    }).IgnoreError();
  }
  if (threads_.empty()) {
    lock.unlock();
    const absl::Status status = WriteFull(*block);
    Recycle(std::move(block));
    return status;
  }
  full_.push_back(std::move(block));
  lock.unlock();
  changed_.notify_all();
  return absl::OkStatus();
}

void DirectWrites::WriteBlocks() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_ending_ || !full_.empty(); });
    if (full_.empty()) return;
    std::unique_ptr<Block> block = std::move(full_.front());
    full_.pop_front();
    ++writing_;
    lock.unlock();
    const absl::Status status = Guarded([&] { return WriteFull(*block); });
    Recycle(std::move(block));
    lock.lock();
    --writing_;
    status_.Update(status);
    changed_.notify_all();
  }
}

void DirectWrites::Recycle(std::unique_ptr<Block> block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.size() < free_.capacity()) free_.push_back(std::move(block->memory));
}

absl::Status DirectWrites::WriteFull(const Block& block) {
  absl::string_view rest(block.memory.get(), block.size);
  int64_t offset = block.offset;
  bool is_refused;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_refused = is_refused_;
  }
  // A block of the disk that the file ends in is not whole. What is left after a short write may
  // not be aligned any more.
  while (!is_refused && static_cast<int64_t>(rest.size()) >= kAlignment &&
         offset % kAlignment == 0) {
    const size_t whole = rest.size() / kAlignment * kAlignment;
    const ssize_t written =
        WithSpace([&] { return pwrite(descriptor_.get(), rest.data(), whole, offset); });
    if (written < 0) {
      const int error = errno;
      if (!IsRefused(error)) {
        return PosixError(absl::StrCat("cannot write ", whole, " bytes at offset ", offset, " of"),
                          file_.path(), error);
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      is_refused_ = is_refused = true;
      break;
    }
    rest.remove_prefix(written);
    offset += written;
  }
  return rest.empty() ? absl::OkStatus() : file_.WriteAt(offset, rest);
}

absl::Status DirectWrites::Flush() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return full_.empty() && writing_ == 0; });
  if (!status_.ok() || open_.empty()) return status_;
  const Block& block = *open_.begin()->second;
  return absl::InternalError(absl::StrCat("of the ", block.size, " bytes at offset ", block.offset,
                                          " of ", file_.path(), " only ", block.filled_bytes,
                                          " were written"));
}

}  // namespace autodist
