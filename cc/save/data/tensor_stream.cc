// The encoded bytes of a planned tensor whose elements vary in size: strings or variants.

#include "save/data/tensor_stream.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/boxes/runs.h"
#include "save/data/unit_reader.h"
#include "tensorflow/core/framework/variant.h"

namespace autodist {
namespace {

// The elements of `planned`, in the order of the whole tensor. `values` has one tensor per source.
template <typename Element>
std::vector<absl::Span<const Element>> PiecesInOrder(
    const PlannedTensor& planned, const std::vector<tensorflow::Tensor>& values) {
  struct Piece {
    int64_t output;
    absl::Span<const Element> elements;
  };
  const int64_t size = Box::Whole(planned.shape).elements();
  std::vector<Piece> pieces;
  const tensorflow::Tensor* value = values.data();
  for (const PlannedShard& shard : planned.shards) {
    const auto flat = value->flat<Element>();
    VisitRuns(planned.shape, shard.box, 0, size, [&](const Run& run) {
      pieces.push_back({run.output, absl::MakeConstSpan(flat.data() + run.source, run.count)});
    });
    value += shard.sources.size();
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.output < b.output; });
  std::vector<absl::Span<const Element>> ordered;
  ordered.reserve(pieces.size());
  for (const Piece& piece : pieces) ordered.push_back(piece.elements);
  return ordered;
}

}  // namespace

absl::StatusOr<TensorStream> MakeTensorStream(const PlannedTensor& planned, Sources* sources) {
  std::vector<int> shards(planned.shards.size());
  std::iota(shards.begin(), shards.end(), 0);
  absl::StatusOr<std::vector<tensorflow::Tensor>> values =
      sources->Snapshot(SourcesOf(planned, shards));
  if (!values.ok()) return values.status();
  const absl::Status fits = CheckValues(planned, shards, *values, false);
  if (!fits.ok()) return fits;

  TensorStream result;
  result.values = *std::move(values);
  if (planned.dtype == tensorflow::DT_STRING) {
    result.stream = EncodeStrings(PiecesInOrder<tensorflow::tstring>(planned, result.values));
    return result;
  }
  auto encoded = EncodeVariants(PiecesInOrder<tensorflow::Variant>(planned, result.values));
  if (!encoded.ok()) return encoded.status();
  result.stream = *std::move(encoded);
  return result;
}

}  // namespace autodist
