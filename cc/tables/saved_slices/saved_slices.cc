// Reads checkpoints of the V1 format. The header has it.

#include "tables/saved_slices/saved_slices.h"

#include <map>
#include <optional>
#include <utility>

#include "core/printable.h"
#include "tables/bundle/dtype.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/wire_reader.h"
#include "tables/table/table_reader.h"

namespace autodist {
namespace {

constexpr char kNoMeta[] = "its first entry does not list the tensors of a V1 checkpoint";

// The first field of that number that holds bytes.
std::optional<std::string_view> FindBytes(std::string_view message, int field) {
  WireReader reader(message);
  std::optional<std::string_view> found;
  while (reader.Next()) {
    if (!found && reader.Is(field, WireType::kBytes)) found = reader.bytes();
  }
  return reader.is_malformed() ? std::nullopt : found;
}

Outcome ParseTensor(std::string_view message, SavedTensor* tensor) {
  WireReader reader(message);
  while (reader.Next()) {
    Outcome outcome = Outcome::Good();
    if (reader.Is(1, WireType::kBytes)) tensor->name = std::string(reader.bytes());
    if (reader.Is(2, WireType::kBytes)) outcome = ParseShape(reader.bytes(), &tensor->shape);
    if (reader.Is(3, WireType::kVarint)) tensor->dtype = static_cast<int32_t>(reader.number());
    if (reader.Is(4, WireType::kBytes)) {
      tensor->slices.emplace_back();
      outcome = ParseSlice(reader.bytes(), &tensor->slices.back());
    }
    if (!outcome.is_good()) return outcome.At("tensor '" + Printable(tensor->name) + "'");
  }
  if (reader.is_malformed() || !CheckedElements(tensor->shape)) return Outcome::Damaged(kNoMeta);
  return Outcome::Good();
}

Outcome ParseMeta(std::string_view value, std::vector<SavedTensor>* tensors) {
  const std::optional<std::string_view> meta = FindBytes(value, 1);
  if (!meta) return Outcome::Damaged(kNoMeta);
  WireReader reader(*meta);
  while (reader.Next()) {
    if (!reader.Is(1, WireType::kBytes)) continue;
    tensors->emplace_back();
    Outcome outcome = ParseTensor(reader.bytes(), &tensors->back());
    if (!outcome.is_good()) return outcome;
  }
  return reader.is_malformed() ? Outcome::Damaged(kNoMeta) : Outcome::Good();
}

// Where a TensorProto has the elements of a dtype, and how.
struct ValueField {
  int field;
  WireType type;  // of one number
  int numbers;    // in an element
};

std::optional<ValueField> FieldOf(int32_t dtype) {
  const std::string name = InfoOfDtype(dtype).name;
  static const auto* const fields = new std::map<std::string, ValueField>{
      {"float32", {5, WireType::kFixed32, 1}},   {"float64", {6, WireType::kFixed64, 1}},
      {"complex64", {9, WireType::kFixed32, 2}}, {"complex128", {12, WireType::kFixed64, 2}},
      {"int64", {10, WireType::kVarint, 1}},     {"bool", {11, WireType::kVarint, 1}},
      {"float16", {13, WireType::kVarint, 1}},   {"bfloat16", {13, WireType::kVarint, 1}},
      {"uint32", {16, WireType::kVarint, 1}},    {"uint64", {17, WireType::kVarint, 1}},
      {"int32", {7, WireType::kVarint, 1}},      {"int16", {7, WireType::kVarint, 1}},
      {"int8", {7, WireType::kVarint, 1}},       {"uint16", {7, WireType::kVarint, 1}},
      {"uint8", {7, WireType::kVarint, 1}},      {"qint8", {7, WireType::kVarint, 1}},
      {"quint8", {7, WireType::kVarint, 1}},     {"qint16", {7, WireType::kVarint, 1}},
      {"quint16", {7, WireType::kVarint, 1}},    {"qint32", {7, WireType::kVarint, 1}},
  };
  const auto found = fields->find(name);
  if (found == fields->end()) return std::nullopt;
  return found->second;
}

// Adds the numbers of a packed field, each in `number_bytes` bytes of memory.
bool AppendNumbers(std::string_view packed, WireType type, int number_bytes, std::string* bytes) {
  if (type != WireType::kVarint) {
    bytes->append(packed);
    return packed.size() % number_bytes == 0;
  }
  while (!packed.empty()) {
    uint64_t number;
    if (!TakeVarint(&packed, &number)) return false;
    char raw[sizeof(number)];
    std::memcpy(raw, &number, sizeof(number));
    bytes->append(raw, number_bytes);
  }
  return true;
}

// Takes the elements out of a TensorProto.
bool ParseValue(std::string_view message, int32_t dtype, SavedValue* value) {
  WireReader reader(message);
  if (dtype == kStringDtype) {
    while (reader.Next()) {
      if (reader.Is(8, WireType::kBytes)) value->strings.emplace_back(reader.bytes());
    }
    return !reader.is_malformed();
  }
  const std::optional<ValueField> field = FieldOf(dtype);
  if (!field) return false;
  const int number_bytes = InfoOfDtype(dtype).element_bytes / field->numbers;
  while (reader.Next()) {
    if (reader.Is(field->field, WireType::kBytes)) {
      if (!AppendNumbers(reader.bytes(), field->type, number_bytes, &value->bytes)) return false;
    } else if (reader.Is(field->field, field->type)) {
      const uint64_t number = reader.number();
      value->bytes.append(reinterpret_cast<const char*>(&number), number_bytes);
    }
  }
  return !reader.is_malformed();
}

// Reads the value of a slice out of its entry in the table.
Outcome ParseSliceValue(std::string_view entry, const SavedTensor& tensor, const Slice& slice,
                        SavedValue* value) {
  const std::string where =
      "tensor '" + Printable(tensor.name) + "', slice '" + SliceText(slice) + "'";
  const std::optional<Box> box = BoxOfSlice(slice, tensor.shape);
  const std::optional<std::string_view> data = FindBytes(entry, 2);
  const std::optional<std::string_view> proto = data ? FindBytes(*data, 3) : std::nullopt;
  if (!box) return Outcome::Damaged(where + " does not lie in the tensor");
  if (!proto || !ParseValue(*proto, tensor.dtype, value)) {
    return Outcome::Damaged(where + " has no value of its dtype");
  }
  const int element_bytes = InfoOfDtype(tensor.dtype).element_bytes;
  const size_t found =
      tensor.dtype == kStringDtype ? value->strings.size() : value->bytes.size() / element_bytes;
  if (found == static_cast<size_t>(box->elements())) return Outcome::Good();
  return Outcome::Damaged(where + " has " + std::to_string(found) + " elements, expected " +
                          std::to_string(box->elements()));
}

}  // namespace

Outcome ReadSavedTensors(const ByteSource& source, std::vector<SavedTensor>* tensors) {
  bool has_meta = false;
  Outcome outcome = ReadTable(source, [&](const std::string& key, std::string_view value) {
    if (!key.empty()) return Outcome::Damaged(kNoMeta);
    Outcome parsed = ParseMeta(value, tensors);
    has_meta = parsed.is_good();
    return has_meta ? Outcome::Stopped() : parsed;
  });
  if (has_meta) return Outcome::Good();
  return outcome.is_good() ? Outcome::Damaged(kNoMeta) : outcome;
}

Outcome ReadSavedSlice(const ByteSource& source, const SavedTensor& tensor, const Slice& slice,
                       SavedValue* value) {
  const std::string wanted = SliceKey(tensor.name, slice);
  bool is_found = false;
  Outcome parsed = Outcome::Good();
  Outcome outcome =
      ReadTableFrom(source, wanted, [&](const std::string& key, std::string_view entry) {
        if (key < wanted) return Outcome::Good();
        is_found = key == wanted;
        if (is_found) parsed = ParseSliceValue(entry, tensor, slice, value);
        return Outcome::Stopped();
      });
  if (is_found) return parsed;
  if (!outcome.is_good() && outcome.kind() != OutcomeKind::kStopped) return outcome;
  return Outcome::Damaged("tensor '" + Printable(tensor.name) + "': its slice '" +
                          SliceText(slice) + "' is missing");
}

Outcome CheckSavedSlices(const ByteSource& source, std::vector<std::string>* problems) {
  struct Listed {
    const SavedTensor* tensor;
    const Slice* slice;
  };
  std::vector<SavedTensor> tensors;
  std::map<std::string, Listed> missing;
  int64_t unlisted = 0;
  bool has_meta = false;
  Outcome outcome = ReadTable(source, [&](const std::string& key, std::string_view value) {
    if (!has_meta) {
      has_meta = true;
      if (!key.empty()) return Outcome::Damaged(kNoMeta);
      Outcome parsed = ParseMeta(value, &tensors);
      for (const SavedTensor& tensor : tensors) {
        for (const Slice& slice : tensor.slices) {
          missing[SliceKey(tensor.name, slice)] = {&tensor, &slice};
        }
      }
      return parsed;
    }
    const auto found = missing.find(key);
    if (found == missing.end()) {
      ++unlisted;
      return Outcome::Good();
    }
    SavedValue parsed_value;
    Outcome parsed =
        ParseSliceValue(value, *found->second.tensor, *found->second.slice, &parsed_value);
    if (!parsed.is_good()) problems->push_back(parsed.text());
    missing.erase(found);
    return Outcome::Good();
  });
  if (!outcome.is_good()) return outcome;
  if (!has_meta) return Outcome::Damaged(kNoMeta);
  for (const auto& [key, listed] : missing) {
    problems->push_back("tensor '" + Printable(listed.tensor->name) + "': its slice '" +
                        SliceText(*listed.slice) + "' is missing");
  }
  if (unlisted > 0) {
    problems->push_back(std::to_string(unlisted) + " slices that no tensor lists");
  }
  return Outcome::Good();
}

}  // namespace autodist
