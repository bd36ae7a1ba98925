#include "accelerators/device_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "threads/block.h"

namespace autodist {

using tensorflow::Tensor;

DeviceWriter::DeviceWriter(std::shared_ptr<Accelerator> accelerator, Tensor tensor)
    : accelerator_(std::move(accelerator)), tensor_(std::move(tensor)) {
  status_ = accelerator_->CheckMemory(tensor_);
}

DeviceWriter::~DeviceWriter() { Finish().IgnoreError(); }

DeviceWriter::Batch::~Batch() {
  if (block_.NumElements() > 0) writer_.accelerator_->ring().GiveBack(std::move(block_));
}

absl::Status DeviceWriter::Batch::Add(int64_t begin, const char* bytes, int64_t size) {
  while (size > 0) {
    if (used_bytes_ == kBlockBytes) {
      const absl::Status sent = Send();
      if (!sent.ok()) return sent;
    }
    if (block_.NumElements() == 0) {
      absl::StatusOr<Tensor> block = writer_.accelerator_->ring().Take();
      if (!block.ok()) return block.status();
      block_ = *std::move(block);
    }
    const int64_t piece = std::min(size, kBlockBytes - used_bytes_);
    std::memcpy(static_cast<char*>(block_.data()) + used_bytes_, bytes, piece);
    if (!ranges_.empty() && ranges_.back().begin + ranges_.back().size == begin) {
      ranges_.back().size += piece;
    } else {
      ranges_.push_back({begin, piece});
    }
    used_bytes_ += piece;
    begin += piece;
    bytes += piece;
    size -= piece;
  }
  return absl::OkStatus();
}

absl::Status DeviceWriter::Batch::Send() {
  if (ranges_.empty()) return absl::OkStatus();
  const absl::Status status = writer_.Send(std::move(block_), ranges_);
  block_ = Tensor();
  ranges_.clear();
  used_bytes_ = 0;
  return status;
}

absl::Status DeviceWriter::Send(Tensor block, const std::vector<Batch::Range>& ranges) {
  auto upload = std::make_shared<Upload>();
  absl::Status status;
  int64_t begin = 0;
  for (const Batch::Range& range : ranges) {
    absl::StatusOr<Tensor> to = PartOf(tensor_, range.begin, range.size);
    if (!to.ok()) {
      status = to.status();
      break;
    }
    upload->to.push_back(*std::move(to));
    upload->from.push_back(block.Slice(begin, begin + range.size));
    begin += range.size;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status.ok()) status = status_;
    if (status.ok()) ++uploads_;
  }
  if (!status.ok()) {
    upload->from.clear();
    accelerator_->ring().GiveBack(std::move(block));
    return status;
  }
  upload->block = std::move(block);
  upload->unfinished = ranges.size();
  for (size_t i = 0; i < ranges.size(); ++i) {
    accelerator_->CopyToDevice(
        upload->from[i], &upload->to[i],
        [this, upload](const absl::Status& ended) { EndOne(upload.get(), ended); });
  }
  return absl::OkStatus();
}

void DeviceWriter::EndOne(Upload* upload, const absl::Status& status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    status_.Update(status);
    if (--upload->unfinished > 0) return;
  }
  upload->from.clear();
  upload->to.clear();
  // Before whoever waits can end the accelerator.
  accelerator_->ring().GiveBack(std::move(upload->block));
  const std::lock_guard<std::mutex> lock(mutex_);
  --uploads_;
  ended_.notify_all();
}

absl::Status DeviceWriter::Finish() {
  std::unique_lock<std::mutex> lock(mutex_);
  ended_.wait(lock, [this] { return uploads_ == 0; });
  return status_;
}

}  // namespace autodist
