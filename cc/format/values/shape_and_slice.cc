// The place of a slice in its variable, as `shape_and_slices` of SaveV2 and RestoreV2 spell it. The
// header has the format.

#include "format/values/shape_and_slice.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace autodist {

namespace {

// The numbers and signs of a text, one after the other.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool is_at_end() const { return at_ == text_.size(); }

  // Passes over `sign` if it comes next.
  bool Take(char sign) {
    if (is_at_end() || text_[at_] != sign) return false;
    ++at_;
    return true;
  }

  // Reads a number of 1 to 18 digits, so that it fits. Else nullopt.
  std::optional<int64_t> Number() {
    const size_t first = at_;
    int64_t number = 0;
    for (; !is_at_end() && absl::ascii_isdigit(static_cast<unsigned char>(text_[at_])); ++at_) {
      if (at_ - first == 18) return std::nullopt;
      number = number * 10 + (text_[at_] - '0');
    }
    if (at_ == first) return std::nullopt;
    return number;
  }

 private:
  const absl::string_view text_;
  size_t at_ = 0;
};

struct Spelled {
  Dims shape;
  tensorflow::TensorSlice slice;
};

// Reads a text as savers write it. Nullopt for any other, which may be right or wrong.
std::optional<Spelled> ReadUsual(absl::string_view text) {
  Scanner scanner(text);
  Spelled spelled;
  // What comes after the last space is the slice.
  const size_t rank = std::count(text.begin(), text.end(), ' ');
  if (rank == 0) return std::nullopt;
  spelled.shape.reserve(rank);
  for (size_t axis = 0; axis < rank; ++axis) {
    const std::optional<int64_t> dim = scanner.Number();
    if (!dim.has_value() || !scanner.Take(' ')) return std::nullopt;
    spelled.shape.push_back(*dim);
  }
  spelled.slice = tensorflow::TensorSlice(static_cast<int>(rank));
  for (size_t axis = 0; axis < rank; ++axis) {
    if (axis > 0 && !scanner.Take(':')) return std::nullopt;
    if (scanner.Take('-')) continue;
    const std::optional<int64_t> start = scanner.Number();
    if (!start.has_value() || !scanner.Take(',')) return std::nullopt;
    const std::optional<int64_t> length = scanner.Number();
    if (!length.has_value() || *length == 0) return std::nullopt;
    spelled.slice.set_start(static_cast<int>(axis), *start);
    spelled.slice.set_length(static_cast<int>(axis), *length);
  }
  return scanner.is_at_end() ? std::make_optional(std::move(spelled)) : std::nullopt;
}

// Reads any text. Not by TensorFlow's function of this name, which aborts the process on a negative
// dimension and on one too large to count.
absl::StatusOr<Spelled> Read(absl::string_view text) {
  Spelled spelled;
  std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  if (words.size() < 2) return absl::InvalidArgumentError("must be dimensions followed by a slice");
  const absl::Status parsed =
      tensorflow::TensorSlice::Parse(std::string(words.back()), &spelled.slice);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a bad slice: ", absl::CHexEscape(parsed.message())));
  }
  words.pop_back();
  for (absl::string_view word : words) {
    int64_t dim;
    if (!absl::SimpleAtoi(word, &dim) || dim < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("has a bad dimension '", absl::CHexEscape(word), "'"));
    }
    spelled.shape.push_back(dim);
  }
  return spelled;
}

}  // namespace

absl::StatusOr<Place> ParseShapeAndSlice(absl::string_view text) {
  const auto refuse = [text](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape and slice '", absl::CHexEscape(text), "' ", why));
  };
  std::optional<Spelled> spelled = ReadUsual(text);
  if (!spelled.has_value()) {
    absl::StatusOr<Spelled> read = Read(text);
    if (!read.ok()) return refuse(read.status().message());
    spelled = *std::move(read);
  }
  if (!CheckedElements(spelled->shape).has_value()) return refuse("has too many elements");
  absl::StatusOr<Box> box = BoxOf(spelled->slice, spelled->shape);
  if (!box.ok()) return refuse(absl::CHexEscape(box.status().message()));
  return Place{std::move(spelled->shape), *std::move(box), std::move(spelled->slice)};
}

absl::StatusOr<Box> BoxOf(const tensorflow::TensorSlice& slice, const Dims& shape) {
  if (slice.dims() != static_cast<int>(shape.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", shape.size(), " dimensions but a slice of ", slice.dims()));
  }
  Box box;
  box.start.reserve(shape.size());
  box.extent.reserve(shape.size());
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int64_t dim = shape[axis];
    const bool is_full = slice.IsFullAt(axis);
    const int64_t start = is_full ? 0 : slice.start(axis);
    const int64_t length = is_full ? dim : slice.length(axis);
    if (start < 0 || length < 0 || start > dim || length > dim - start) {
      return absl::InvalidArgumentError(
          absl::StrCat("takes ", length, " from ", start, " along axis ", axis,
                       ", out of the full shape ", DimsToString(shape)));
    }
    box.start.push_back(start);
    box.extent.push_back(length);
  }
  return box;
}

Dims DimsOf(const tensorflow::TensorShape& shape) {
  Dims dims;
  for (int axis = 0; axis < shape.dims(); ++axis) dims.push_back(shape.dim_size(axis));
  return dims;
}

tensorflow::TensorShape ShapeOf(const Dims& dims) {
  tensorflow::TensorShape shape;
  for (int64_t dim : dims) shape.AddDim(dim);
  return shape;
}

}  // namespace autodist
