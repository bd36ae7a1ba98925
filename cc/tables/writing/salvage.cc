// What can be read of an index that is damaged. The header says how.

#include "tables/writing/salvage.h"

#include <algorithm>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <string_view>

#include "tables/bundle/bundle_index.h"
#include "tables/bytes/crc32c.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/masked_crc.h"
#include "tables/table/blocks.h"
#include "tables/table/table_builder.h"
#include "tables/writing/index_writer.h"

namespace autodist {
namespace {

using Rows = std::map<std::string, std::string>;

// Blocks of stock tables have 256 KiB and an entry.
constexpr uint64_t kMostBlockBytes = uint64_t{64} << 20;
constexpr uint64_t kMostFileBytes = uint64_t{4} << 30;
constexpr char kSliceKeyMark = '\0';

// Adds the rows of a sound block; false if it has none that can be read.
bool AddRows(std::string_view block, Rows* rows) {
  Rows found;
  const Outcome outcome = VisitBlock(block, [&](const std::string& key, std::string_view value) {
    found.emplace(key, value);
    return Outcome::Good();
  });
  if (!outcome.is_good()) return false;
  rows->merge(found);
  return true;
}

// Reads the blocks that the index block lists. False if it cannot be read.
bool ReadListedBlocks(const ByteSource& source, Rows* rows, Salvage* salvage) {
  BlockHandle handle;
  std::string index, block;
  if (!ReadFooter(source, &handle).is_good() || !ReadBlock(source, handle, &index).is_good()) {
    return false;
  }
  uint64_t end = 0;
  return VisitBlock(index,
                    [&](const std::string&, std::string_view value) {
                      BlockHandle listed;
                      if (!TakeHandle(&value, &listed) || listed.offset < end) {
                        return Outcome::Damaged("where a block lies cannot be read");
                      }
                      const bool is_sound =
                          ReadBlock(source, listed, &block).is_good() && AddRows(block, rows);
                      if (!is_sound)
                        salvage->lost.emplace_back(listed.offset,
                                                   listed.offset + listed.size_bytes);
                      // A block that is sound lies within the file, so this does not overflow.
                      if (is_sound) end = listed.offset + listed.size_bytes + kBlockTrailerBytes;
                      return Outcome::Good();
                    })
      .is_good();
}

// The size of the block at the front of `bytes`, without its trailer; nullopt if no end is found.
std::optional<uint64_t> FindBlock(std::string_view bytes) {
  const uint64_t most = std::min<uint64_t>(bytes.size(), kMostBlockBytes);
  uint32_t crc = 0;
  for (uint64_t size = 0; size + kBlockTrailerBytes <= most; ++size) {
    const uint32_t with_kind = ExtendCrc(crc, bytes.substr(size, 1));
    const bool is_end = size >= 8 && bytes[size] == '\0' &&
                        UnmaskCrc(LittleEndian<uint32_t>(bytes.data() + size + 1)) == with_kind;
    if (is_end) return size;
    crc = with_kind;
  }
  return std::nullopt;
}

Outcome SearchBlocks(const ByteSource& source, Rows* rows, Salvage* salvage) {
  const uint64_t size = source.size_bytes();
  if (size > kMostFileBytes) return Outcome::Damaged("it has more than 4 GiB");
  std::string contents;
  try {
    contents.resize(size);
  } catch (const std::bad_alloc&) {
    return Outcome::NoMemory("no memory for " + std::to_string(size) + " bytes");
  }
  const Outcome outcome = source.Read(0, size, contents.data());
  if (!outcome.is_good()) return outcome;
  const std::string_view bytes = contents;
  for (uint64_t offset = 0; offset < size;) {
    const std::optional<uint64_t> found = FindBlock(bytes.substr(offset));
    const size_t before = rows->size();
    if (!found.has_value() || !AddRows(bytes.substr(offset, *found), rows)) {
      salvage->lost.emplace_back(offset, size);
      break;
    }
    // An empty block, the meta index, stands behind those of the rows.
    if (rows->size() == before) break;
    offset += *found + kBlockTrailerBytes;
  }
  return Outcome::Good();
}

// The keys that the rows of variables need, and the variables some of whose slices are lost.
void ChooseRows(const Rows& rows, std::set<std::string>* chosen, int32_t* least_file_count,
                Salvage* salvage) {
  for (const auto& [key, value] : rows) {
    if (key.empty() || key[0] == kSliceKeyMark) continue;
    StoredEntry entry;
    if (!ParseStoredEntry(value, &entry).is_good()) {
      salvage->incomplete.push_back(key);
      continue;
    }
    std::vector<std::string> keys{key};
    for (const Slice& slice : entry.slices) keys.push_back(SliceKey(key, slice));
    bool is_complete = true;
    int32_t last_file = 0;
    for (const std::string& needed : keys) {
      const auto row = rows.find(needed);
      StoredEntry part;
      is_complete =
          is_complete && row != rows.end() && ParseStoredEntry(row->second, &part).is_good();
      last_file = std::max(last_file, part.file);
    }
    if (!is_complete) {
      salvage->incomplete.push_back(key);
      continue;
    }
    ++salvage->variables;
    *least_file_count =
        std::max(*least_file_count, last_file < INT32_MAX ? last_file + 1 : last_file);
    chosen->insert(keys.begin(), keys.end());
  }
}

}  // namespace

Outcome SalvageIndex(const ByteSource& source, Salvage* salvage) {
  Rows rows;
  if (!ReadListedBlocks(source, &rows, salvage)) {
    rows.clear();
    salvage->lost.clear();
    const Outcome outcome = SearchBlocks(source, &rows, salvage);
    if (!outcome.is_good()) return outcome;
  }
  const auto header = rows.find("");
  if (header != rows.end() && !ParseStoredHeader(header->second, &salvage->file_count).is_good()) {
    salvage->file_count = 0;
  }
  std::set<std::string> chosen;
  int32_t least_file_count = 1;
  ChooseRows(rows, &chosen, &least_file_count, salvage);
  if (chosen.empty()) return Outcome::Damaged("no entry of it can be read");
  TableBuilder builder;
  builder.Add("",
              SerializeHeader(salvage->file_count > 0 ? salvage->file_count : least_file_count));
  for (const std::string& key : chosen) builder.Add(key, rows[key]);
  salvage->index = builder.Finish();
  return Outcome::Good();
}

}  // namespace autodist
