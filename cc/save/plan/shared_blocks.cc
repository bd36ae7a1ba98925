// How tasks that write one file share its blocks: each block has one writer. The header tells how.

#include "save/plan/shared_blocks.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace autodist {
namespace {

// Bytes of one part in one block.
struct Piece {
  int64_t begin;
  int64_t end;
  int part;
};

class Sharer {
 public:
  Sharer(absl::Span<const Part> parts, int64_t block_bytes)
      : parts_(parts), block_bytes_(block_bytes) {}

  SharedBlocks Share() {
    for (size_t i = 0; i < parts_.size(); ++i) {
      int64_t begin = parts_[i].offset;
      const int64_t end = begin + parts_[i].size_bytes;
      while (begin < end) {
        // Of a part larger than a block all whole blocks at once.
        int64_t next = std::min(end, (begin / block_bytes_ + 1) * block_bytes_);
        if (begin % block_bytes_ == 0 && end - begin >= block_bytes_) {
          next = end / block_bytes_ * block_bytes_;
        }
        pieces_.push_back({begin, next, static_cast<int>(i)});
        if (next % block_bytes_ == 0) FinishBlock();
        begin = next;
      }
    }
    FinishBlock();
    return std::move(shared_);
  }

 private:
  int WriterOf(const Piece& piece) const { return parts_[piece.part].writer; }

  // Decides who writes the pieces of the last block.
  void FinishBlock() {
    if (pieces_.empty()) return;
    std::map<int, int64_t> bytes;
    for (const Piece& piece : pieces_) bytes[WriterOf(piece)] += piece.end - piece.begin;
    int writer = WriterOf(pieces_[0]);
    for (const Piece& piece : pieces_) {
      if (bytes[WriterOf(piece)] > bytes[writer]) writer = WriterOf(piece);
    }
    for (const Piece& piece : pieces_) {
      if (WriterOf(piece) != writer) HandOver(piece, writer);
    }
    AddRun(pieces_.front().begin, pieces_.back().end, writer);
    pieces_.clear();
  }

  void HandOver(const Piece& piece, int to) {
    const int from = WriterOf(piece), group = parts_[piece.part].group;
    if (!shared_.handovers.empty()) {
      Handover& last = shared_.handovers.back();
      if (last.end == piece.begin && last.from == from && last.to == to && last.group == group) {
        last.end = piece.end;
        last.last_part = piece.part;
        return;
      }
    }
    shared_.handovers.push_back({piece.begin, piece.end, from, to, group, piece.part});
  }

  void AddRun(int64_t begin, int64_t end, int writer) {
    std::vector<WriterRun>& runs = shared_.runs;
    if (!runs.empty() && runs.back().writer == writer) {
      runs.back().end = end;
    } else {
      runs.push_back({begin, end, writer});
    }
  }

  const absl::Span<const Part> parts_;
  const int64_t block_bytes_;
  std::vector<Piece> pieces_;
  SharedBlocks shared_;
};

}  // namespace

SharedBlocks ShareBlocks(absl::Span<const Part> parts, int64_t block_bytes) {
  return Sharer(parts, std::max<int64_t>(1, block_bytes)).Share();
}

std::vector<WriterRun> PagesToCheck(absl::Span<const WriterRun> runs, int64_t limit_bytes) {
  if (runs.size() < 2) return {};
  // By writer: its first and last run.
  std::map<int, std::pair<size_t, size_t>> ends;
  for (size_t i = 0; i < runs.size(); ++i) {
    ends.emplace(runs[i].writer, std::make_pair(i, i)).first->second.second = i;
  }
  std::set<std::pair<int64_t, size_t>> chosen;  // first byte, run
  const auto add_head = [&](size_t run) { chosen.emplace(runs[run].begin, run); };
  const auto add_tail = [&](size_t run) {
    // A short run is checked as a whole, by its first byte.
    const bool is_short = runs[run].end - runs[run].begin <= 2 * kPageBytes;
    chosen.emplace(is_short ? runs[run].begin : runs[run].end - kPageBytes, run);
  };
  for (const auto& [writer, first_and_last] : ends) {
    add_head(first_and_last.first);
    add_tail(first_and_last.second);
  }
  const int64_t borders = static_cast<int64_t>(runs.size()) - 1;
  const int64_t most = std::max<int64_t>(1, limit_bytes / (2 * kPageBytes));
  const int64_t step = (borders + most - 1) / most;
  for (int64_t i = 0; i < borders; i += step) {
    add_tail(i);
    add_head(i + 1);
  }
  std::vector<WriterRun> pages;
  for (const auto& [begin, run] : chosen) {
    const bool is_short = runs[run].end - runs[run].begin <= 2 * kPageBytes;
    pages.push_back({begin, is_short ? runs[run].end : begin + kPageBytes, runs[run].writer});
  }
  return pages;
}

}  // namespace autodist
