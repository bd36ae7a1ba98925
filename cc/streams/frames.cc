// Cuts the bytes that a task sends into frames, and puts them together again.

#include "streams/frames.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "format/values/copy_and_sum.h"
#include "threads/guarded.h"

namespace autodist {

static_assert(kFrameBytes <= kBlockBytes);

absl::Status FrameSender::Send(int64_t size, const char* fixed, const Read& read) {
  if (buffer_.data() == nullptr) return NoMemory();
  for (int64_t begin = 0; begin < size;) {
    const int64_t part = std::min(size - begin, kFrameBytes - filled_);
    if (fixed != nullptr && part == kFrameBytes) {
      const absl::Status sent = connection_.Send(absl::string_view(fixed + begin, part),
                                                 Sum(fixed + begin, part), cancelled_);
      if (!sent.ok()) return sent;
      begin += part;
      continue;
    }
    char* const out = buffer_.data() + filled_;
    absl::crc32c_t crc;
    if (fixed != nullptr) {
      crc = CopyAndSum(fixed + begin, part, out);
    } else {
      const absl::Status status = read(begin, part, out);
      if (!status.ok()) return status;
      crc = Sum(out, part);
    }
    crc_ = absl::ConcatCrc32c(crc_, crc, static_cast<size_t>(part));
    filled_ += part;
    begin += part;
    if (filled_ < kFrameBytes) continue;
    const absl::Status sent = SendBuffer();
    if (!sent.ok()) return sent;
  }
  return absl::OkStatus();
}

absl::Status FrameSender::SendBuffer() {
  const int64_t size = std::exchange(filled_, 0);
  return connection_.Send(absl::string_view(buffer_.data(), size),
                          std::exchange(crc_, absl::crc32c_t{0}), cancelled_);
}

absl::Status FrameSender::Finish() { return filled_ > 0 ? SendBuffer() : absl::OkStatus(); }

absl::StatusOr<std::vector<uint32_t>> ReceivePieces(
    DataConnection* connection, absl::Span<const ReceivedPiece> pieces,
    const std::function<absl::Status(int64_t offset, absl::string_view bytes)>& sink,
    const std::atomic<bool>& cancelled,
    const std::function<PieceObserver*(size_t piece)>& observer_of) {
  BlockBuffer buffer;
  if (buffer.data() == nullptr) return NoMemory();
  int64_t left = 0;
  for (const ReceivedPiece& piece : pieces) left += piece.size;
  std::vector<absl::crc32c_t> sums(pieces.size(), absl::crc32c_t{0});
  size_t next = 0;    // the piece that is being received
  int64_t begin = 0;  // the first of its bytes that was not
  while (left > 0) {
    const int64_t size = std::min(left, kFrameBytes);
    const absl::StatusOr<std::optional<absl::crc32c_t>> announced =
        connection->Receive(buffer.data(), size, cancelled);
    if (!announced.ok()) return announced.status();
    // Runs of bytes that lie together in the file.
    std::vector<std::pair<int64_t, absl::string_view>> runs;
    absl::crc32c_t found{0};
    for (int64_t at = 0; at < size;) {
      const ReceivedPiece& piece = pieces[next];
      const int64_t part = std::min(size - at, piece.size - begin);
      if (part > 0) {
        const char* const bytes = buffer.data() + at;
        PieceObserver* const observer = observer_of ? observer_of(next) : nullptr;
        const absl::crc32c_t crc = Sum(bytes, part, observer);
        found = absl::ConcatCrc32c(found, crc, static_cast<size_t>(part));
        sums[next] = absl::ConcatCrc32c(sums[next], crc, static_cast<size_t>(part));
        const int64_t offset = piece.offset + begin;
        if (!runs.empty() &&
            runs.back().first + static_cast<int64_t>(runs.back().second.size()) == offset) {
          runs.back().second =
              absl::string_view(runs.back().second.data(), runs.back().second.size() + part);
        } else {
          runs.emplace_back(offset, absl::string_view(bytes, part));
        }
      }
      at += part;
      begin += part;
      if (begin < piece.size) continue;
      ++next;
      begin = 0;
    }
    if (*announced != found) return connection->WrongSum();
    for (const auto& [offset, bytes] : runs) {
      const absl::Status status = sink(offset, bytes);
      if (!status.ok()) return status;
    }
    left -= size;
  }
  std::vector<uint32_t> result;
  result.reserve(sums.size());
  for (const absl::crc32c_t sum : sums) result.push_back(static_cast<uint32_t>(sum));
  return result;
}

}  // namespace autodist
