#include "save/data/figures_collector.h"

#include <algorithm>

namespace autodist {

void FiguresCollector::Observe(const char* bytes, int64_t size) {
  if (begun_bytes_ > 0) {
    const int64_t more = std::min(element_bytes_ - begun_bytes_, size);
    std::memcpy(begun_ + begun_bytes_, bytes, static_cast<size_t>(more));
    begun_bytes_ += more;
    bytes += more;
    size -= more;
    if (begun_bytes_ < element_bytes_) return;
    begun_bytes_ = 0;
    Add(begun_, 1);
  }
  const int64_t rest = size % element_bytes_;
  if (size > rest) Add(bytes, size / element_bytes_);
  if (rest > 0) std::memcpy(begun_, bytes + size - rest, static_cast<size_t>(rest));
  begun_bytes_ = rest;
}

}  // namespace autodist
