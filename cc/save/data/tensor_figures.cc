#include "save/data/tensor_figures.h"

#include <cstddef>

#include "absl/strings/string_view.h"
#include "format/values/element_type.h"

namespace autodist {
namespace {

template <typename Number>
void AppendNumber(Number number, std::string* out) {
  out->append(reinterpret_cast<const char*>(&number), sizeof number);
}

void AppendText(absl::string_view text, std::string* out) {
  AppendNumber(static_cast<uint32_t>(text.size()), out);
  out->append(text.data(), text.size());
}

}  // namespace

std::string EncodeFigures(const SavePlan& plan, const std::vector<uint32_t>& crcs,
                          const std::vector<Figures>& figures) {
  std::string out;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    AppendText(planned.name, &out);
    AppendText(planned.slice_of ? planned.slice_of->slice.DebugString() : "", &out);
    AppendNumber(static_cast<int32_t>(planned.dtype), &out);
    AppendNumber(crcs[i], &out);
    AppendNumber(static_cast<uint32_t>(HasFigures(ArithmeticOf(planned.dtype).type)), &out);
    for (const int64_t word : ToWords(figures[i])) AppendNumber(word, &out);
  }
  return out;
}

}  // namespace autodist
