#include "accelerators/device_reader.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "threads/block.h"

namespace autodist {

using tensorflow::Tensor;

DeviceReader::DeviceReader(std::shared_ptr<Accelerator> accelerator, Tensor tensor,
                           std::string name)
    : accelerator_(std::move(accelerator)),
      tensor_(std::move(tensor)),
      bytes_(static_cast<const char*>(tensor_.data())),
      name_(std::move(name)) {}

DeviceReader::~DeviceReader() {
  for (const auto& [begin, copy] : ahead_) {
    copy->end.Wait().IgnoreError();
    GiveBack(copy.get());
  }
}

absl::Status DeviceReader::Named(const absl::Status& status) const {
  if (status.ok()) return status;
  const std::string who = name_.empty() ? "a variable" : absl::StrCat("variable '", name_, "'");
  return absl::Status(status.code(), absl::StrCat(who, ": ", status.message()));
}

absl::Status DeviceReader::Read(const char* at, int64_t size, char* to) {
  const absl::Status can_read = accelerator_->CheckMemory(tensor_);
  if (!can_read.ok()) return Named(can_read);
  const int64_t first = at - bytes_;
  for (int64_t done = 0; done < size; done += kBlockBytes) {
    const int64_t piece = std::min(kBlockBytes, size - done);
    const absl::Status status = ReadBlock(first + done, piece, to + done);
    if (!status.ok()) return Named(status);
  }
  return absl::OkStatus();
}

void DeviceReader::Expect(const char* at, int64_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  next_ = std::max<int64_t>(next_, at - bytes_);
  expected_end_ = (at - bytes_) + size;
}

absl::Status DeviceReader::ReadBlock(int64_t begin, int64_t size, char* to) {
  std::shared_ptr<Copy> copy;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ = std::max(next_, begin + size);
    const auto found = ahead_.find(begin);
    if (found != ahead_.end() && static_cast<int64_t>(found->second->from.TotalBytes()) == size) {
      copy = std::move(found->second);
      ahead_.erase(found);
    }
  }
  if (copy == nullptr) {
    absl::StatusOr<Tensor> block = accelerator_->ring().Take();
    if (!block.ok()) return block.status();
    absl::StatusOr<std::shared_ptr<Copy>> begun = Begin(begin, size, *std::move(block));
    if (!begun.ok()) return begun.status();
    copy = *std::move(begun);
  }
  RunAhead();
  const absl::Status status = copy->end.Wait();
  if (status.ok()) std::memcpy(to, copy->to.data(), size);
  GiveBack(copy.get());
  return status;
}

absl::StatusOr<std::shared_ptr<DeviceReader::Copy>> DeviceReader::Begin(int64_t begin, int64_t size,
                                                                        Tensor block) {
  auto copy = std::make_shared<Copy>();
  absl::StatusOr<Tensor> from = PartOf(tensor_, begin, size);
  if (!from.ok()) {
    accelerator_->ring().GiveBack(std::move(block));
    return from.status();
  }
  copy->from = *std::move(from);
  copy->to = block.Slice(0, size);
  copy->block = std::move(block);
  accelerator_->CopyToHost(copy->from, &copy->to,
                           [copy](const absl::Status& status) { copy->end.Report(status); });
  return copy;
}

void DeviceReader::RunAhead() {
  const std::lock_guard<std::mutex> lock(mutex_);
  while (next_ < expected_end_ && ahead_.size() < kMostAhead) {
    std::optional<Tensor> block = accelerator_->ring().TryTake();
    if (!block.has_value()) return;
    const int64_t size = std::min(kBlockBytes, expected_end_ - next_);
    absl::StatusOr<std::shared_ptr<Copy>> copy = Begin(next_, size, *std::move(block));
    // The thread that reads the block finds the same error.
    if (!copy.ok()) return;
    ahead_[next_] = *std::move(copy);
    next_ += size;
  }
}

// REQUIRES: the copy has ended.
void DeviceReader::GiveBack(Copy* copy) {
  copy->from = Tensor();
  copy->to = Tensor();
  accelerator_->ring().GiveBack(std::move(copy->block));
}

}  // namespace autodist
