// The figures of the tensors of a save as bytes, for Python, which makes the evidence file of them
// (docs/design/evidence.md).
//
// One record after the other, in the order of the plan, little-endian:
//
//   uint32 length, name     of the variable
//   uint32 length, slice    as in a tensor's name in an index; empty: the whole variable
//   int32 dtype             TensorFlow's number
//   uint32 crc              of the bytes, unmasked
//   uint32 has_figures      0: the dtype has none; the ten numbers are there all the same
//   10 * int64              figures (core/figures/figures.h, ToWords)

#ifndef AUTODIST_SAVE_DATA_TENSOR_FIGURES_H_
#define AUTODIST_SAVE_DATA_TENSOR_FIGURES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/figures/figures.h"
#include "save/plan/save_plan.h"

namespace autodist {

// `crcs` and `figures` have one element per planned tensor.
std::string EncodeFigures(const SavePlan& plan, const std::vector<uint32_t>& crcs,
                          const std::vector<Figures>& figures);

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_TENSOR_FIGURES_H_
