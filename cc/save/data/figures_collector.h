// Collects the figures (core/figures) of a tensor's bytes while they are summed.

#ifndef AUTODIST_SAVE_DATA_FIGURES_COLLECTOR_H_
#define AUTODIST_SAVE_DATA_FIGURES_COLLECTOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/figures/figures.h"
#include "format/values/copy_and_sum.h"
#include "format/values/element_type.h"

namespace autodist {

// Sees the bytes of elements one after the other. A piece may end within an element, and may begin
// at any address.
class FiguresCollector : public PieceObserver {
 public:
  // REQUIRES: HasFigures(arithmetic.type).
  explicit FiguresCollector(const Arithmetic& arithmetic)
      : arithmetic_(arithmetic), element_bytes_(ElementBytes(arithmetic.type)) {}

  void Observe(const char* bytes, int64_t size) override;

  // How far replicas are from each other, of some elements.
  void NoteDeviation(double deviation) {
    if (deviation > figures_.deviation) figures_.deviation = deviation;
  }

  const Arithmetic& arithmetic() const { return arithmetic_; }

  // Of all whole elements so far.
  const Figures& figures() const { return figures_; }

 private:
  void Add(const char* elements, int64_t count) {
    AddFigures(arithmetic_.type, elements, count, arithmetic_.codec, &figures_);
  }

  const Arithmetic arithmetic_;
  const int64_t element_bytes_;
  Figures figures_;
  char begun_[16] = {};  // the first bytes of an element whose others are to come
  int64_t begun_bytes_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_FIGURES_COLLECTOR_H_
