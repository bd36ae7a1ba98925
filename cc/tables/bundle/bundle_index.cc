// What the index of a checkpoint says. The header has the format.

#include "tables/bundle/bundle_index.h"

#include <optional>
#include <unordered_map>
#include <utility>

#include "core/boxes/tiling.h"
#include "core/printable.h"
#include "tables/bundle/dtype.h"
#include "tables/bytes/masked_crc.h"
#include "tables/bytes/wire_reader.h"
#include "tables/table/table_reader.h"

namespace autodist {
namespace {

// TensorFlow's kTensorBundleVersion.
constexpr int32_t kVersion = 1;
constexpr char kSliceMark = '\0';
constexpr char kNoHeader[] = "its first entry is not the header of a checkpoint";

int32_t Int32(const WireReader& reader) { return static_cast<int32_t>(reader.number()); }

// Moves the names and places of slices from the variables that list them to their entries.
class SliceLinks {
 public:
  void Add(const std::string& key, size_t number) { numbers_.emplace(key, number); }

  // Each entry of a slice may be listed once, or a few bytes could stand for any number of lookups.
  Outcome Link(StoredIndex* index) {
    std::vector<StoredEntry>& entries = index->entries;
    is_listed_.resize(entries.size());
    for (StoredEntry& entry : entries) {
      entry.slice_entries.reserve(entry.slices.size());
      for (const Slice& slice : entry.slices) {
        const auto found = numbers_.find(SliceKey(entry.name, slice));
        if (found == numbers_.end() || is_listed_[found->second]) {
          return Outcome::Damaged("tensor '" + Printable(entry.name) + "': its slice " +
                                  SliceText(slice) + " is " +
                                  (found == numbers_.end() ? "missing" : "listed twice"));
        }
        is_listed_[found->second] = true;
        entry.slice_entries.push_back(static_cast<int64_t>(found->second));
        entries[found->second].name = entry.name;
        entries[found->second].slice = slice;
      }
    }
    if (!numbers_.empty()) LeaveOutUnlisted(index);
    return Outcome::Good();
  }

 private:
  void LeaveOutUnlisted(StoredIndex* index) const {
    std::vector<int64_t> moved_to(index->entries.size());
    std::vector<StoredEntry> kept;
    for (size_t i = 0; i < index->entries.size(); ++i) {
      moved_to[i] = static_cast<int64_t>(kept.size());
      if (index->entries[i].is_slice && !is_listed_[i]) {
        ++index->unlisted_slices;
      } else {
        kept.push_back(std::move(index->entries[i]));
      }
    }
    for (StoredEntry& entry : kept) {
      for (int64_t& number : entry.slice_entries) number = moved_to[number];
    }
    index->entries = std::move(kept);
  }

  std::unordered_map<std::string, size_t> numbers_;  // of the entries of slices, by key
  std::vector<bool> is_listed_;
};

std::string CheckSlices(const StoredIndex& index, const StoredEntry& entry) {
  std::vector<Box> boxes;
  for (size_t i = 0; i < entry.slices.size(); ++i) {
    const std::string text = "its slice " + SliceText(entry.slices[i]);
    const std::optional<Box> box = BoxOfSlice(entry.slices[i], entry.shape);
    if (!box) return text + " does not lie in the shape " + DimsToString(entry.shape);
    const StoredEntry& stored = index.entries[entry.slice_entries[i]];
    if (stored.shape != box->extent) {
      return text + " has the shape " + DimsToString(stored.shape) + ", expected " +
             DimsToString(box->extent);
    }
    if (stored.dtype != entry.dtype) return text + " has another dtype";
    boxes.push_back(*box);
  }
  const std::optional<std::string> problem = CheckTiling(entry.shape, boxes);
  return problem ? "its slices do not make up all of it: " + *problem : "";
}

}  // namespace

Outcome ParseStoredHeader(std::string_view message, int32_t* file_count) {
  int32_t endianness = 0, min_consumer = 0;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kVarint)) *file_count = Int32(reader);
    if (reader.Is(2, WireType::kVarint)) endianness = Int32(reader);
    if (!reader.Is(3, WireType::kBytes)) continue;
    WireReader version(reader.bytes());
    while (version.Next()) {
      if (version.Is(2, WireType::kVarint)) min_consumer = Int32(version);
    }
    if (version.is_malformed()) return Outcome::Damaged(kNoHeader);
  }
  if (reader.is_malformed() || *file_count < 0) return Outcome::Damaged(kNoHeader);
  if (endianness != 0) return Outcome::Unsupported("a big-endian checkpoint");
  if (min_consumer > kVersion) {
    return Outcome::Unsupported("a checkpoint for readers of version " +
                                std::to_string(min_consumer) + " and later; this one has " +
                                std::to_string(kVersion));
  }
  return Outcome::Good();
}

Outcome ParseStoredEntry(std::string_view message, StoredEntry* entry) {
  WireReader reader(message);
  while (reader.Next()) {
    Outcome outcome = Outcome::Good();
    if (reader.Is(1, WireType::kVarint)) entry->dtype = Int32(reader);
    if (reader.Is(2, WireType::kBytes)) outcome = ParseShape(reader.bytes(), &entry->shape);
    if (reader.Is(3, WireType::kVarint)) entry->file = Int32(reader);
    if (reader.Is(4, WireType::kVarint)) entry->offset = static_cast<int64_t>(reader.number());
    if (reader.Is(5, WireType::kVarint)) entry->size_bytes = static_cast<int64_t>(reader.number());
    if (reader.Is(6, WireType::kFixed32)) {
      entry->crc = UnmaskCrc(static_cast<uint32_t>(reader.number()));
    }
    if (reader.Is(7, WireType::kBytes)) {
      entry->slices.emplace_back();
      outcome = ParseSlice(reader.bytes(), &entry->slices.back());
    }
    if (!outcome.is_good()) return outcome;
  }
  if (reader.is_malformed()) return Outcome::Damaged("its value is not a BundleEntryProto");
  if (!CheckedElements(entry->shape)) return Outcome::Damaged("it has no valid shape");
  return Outcome::Good();
}

Outcome ReadStoredIndex(const ByteSource& source, StoredIndex* index) {
  bool has_header = false;
  SliceLinks links;
  Outcome outcome = ReadTable(source, [&](const std::string& key, std::string_view value) {
    if (!has_header) {
      has_header = true;
      return key.empty() ? ParseStoredHeader(value, &index->file_count)
                         : Outcome::Damaged(kNoHeader);
    }
    StoredEntry entry;
    Outcome parsed = ParseStoredEntry(value, &entry);
    if (!parsed.is_good()) return parsed.At("entry '" + Printable(key) + "'");
    entry.is_slice = key[0] == kSliceMark;
    if (entry.is_slice) {
      links.Add(key, index->entries.size());
    } else {
      entry.name = key;
    }
    index->entries.push_back(std::move(entry));
    return Outcome::Good();
  });
  if (!outcome.is_good()) return outcome;
  return has_header ? links.Link(index) : Outcome::Damaged(kNoHeader);
}

std::string CheckEntry(const StoredIndex& index, size_t number) {
  const StoredEntry& entry = index.entries[number];
  const DtypeInfo info = InfoOfDtype(entry.dtype);
  const bool varies = entry.dtype == kStringDtype || entry.dtype == kVariantDtype;
  if (info.element_bytes == 0 && !varies) {
    return "no tensor of the dtype " + std::to_string(entry.dtype) + " (" + info.name +
           ") can be stored";
  }
  if (!entry.slices.empty()) return CheckSlices(index, entry);
  if (entry.file < 0 || entry.file >= index.file_count) {
    return "it is in data file " + std::to_string(entry.file) + " of " +
           std::to_string(index.file_count);
  }
  if (entry.offset < 0 || entry.size_bytes < 0 || entry.offset > INT64_MAX - entry.size_bytes) {
    return std::to_string(entry.size_bytes) + " bytes at " + std::to_string(entry.offset) +
           " are not a range";
  }
  const int64_t elements = *CheckedElements(entry.shape);
  const bool fits = varies ? elements <= entry.size_bytes
                           : entry.size_bytes % info.element_bytes == 0 &&
                                 entry.size_bytes / info.element_bytes == elements;
  if (fits) return "";
  return std::to_string(entry.size_bytes) + " bytes do not hold a " + info.name + " of shape " +
         DimsToString(entry.shape);
}

}  // namespace autodist
