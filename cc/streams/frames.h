// Cuts the bytes that a task sends into frames, and puts them together again.
//
//   what is sent     |---- 0 ----|- 1 -|-- 2 --|------------- 3 ------------|
//   frames           |-------- full -------|-------- full -------|-- rest --|
//
// Both sides know the sizes of all pieces, so they cut alike. A frame may have many small pieces,
// and a piece many frames. The sum of a frame is joined from those of its parts, so each byte is
// summed once on each side.

#ifndef AUTODIST_STREAMS_FRAMES_H_
#define AUTODIST_STREAMS_FRAMES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "format/values/copy_and_sum.h"
#include "streams/data_connection.h"
#include "threads/block.h"

namespace autodist {

// Sends pieces one after the other. One thread uses it.
class FrameSender {
 public:
  FrameSender(DataConnection* connection, const std::atomic<bool>& cancelled)
      : connection_(*connection), cancelled_(cancelled) {}

  // Reads bytes [begin, begin + size) of a piece to `out`; called once for each byte.
  using Read = std::function<absl::Status(int64_t begin, int64_t size, char* out)>;

  // Sends a piece of `size` bytes. `fixed` is where they are if nobody changes them; else null, and
  // `read` reads them.
  absl::Status Send(int64_t size, const char* fixed, const Read& read);

  // Sends what is left. REQUIRES: no call has failed.
  absl::Status Finish();

 private:
  absl::Status SendBuffer();

  DataConnection& connection_;
  const std::atomic<bool>& cancelled_;
  BlockBuffer buffer_;
  int64_t filled_ = 0;  // bytes in the buffer
  absl::crc32c_t crc_{0};
};

// A piece, and where its bytes go in a file.
struct ReceivedPiece {
  int64_t offset;
  int64_t size;
};

// Receives pieces and gives their bytes to `sink`, which gets those that lie together at once. The
// bytes were compared with the sender's sum before. Returns the sum of each piece. `observer_of`
// returns what sees the bytes of a piece, by its index, before they are compared; or null. Memory:
// one frame.
absl::StatusOr<std::vector<uint32_t>> ReceivePieces(
    DataConnection* connection, absl::Span<const ReceivedPiece> pieces,
    const std::function<absl::Status(int64_t offset, absl::string_view bytes)>& sink,
    const std::atomic<bool>& cancelled,
    const std::function<PieceObserver*(size_t piece)>& observer_of = nullptr);

}  // namespace autodist

#endif  // AUTODIST_STREAMS_FRAMES_H_
