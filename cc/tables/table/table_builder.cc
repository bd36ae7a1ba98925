// Builds TensorFlow's sorted tables. The header has the format.

#include "tables/table/table_builder.h"

#include <algorithm>
#include <utility>

#include "tables/bytes/crc32c.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/masked_crc.h"
#include "tables/bytes/varint.h"

namespace autodist {
namespace {

constexpr uint64_t kTableMagic = 0xdb4775248b80fb57;
constexpr size_t kFooterHandlesBytes = 40;

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  size_t common = 0;
  while (common < most && a[common] == b[common]) ++common;
  return common;
}

unsigned char ByteAt(std::string_view text, size_t i) {
  return static_cast<unsigned char>(text[i]);
}

}  // namespace

void TableBlock::Add(std::string_view key, std::string_view value) {
  size_t shared = 0;
  if (keys_since_restart_ < restart_interval_) {
    shared = CommonPrefix(last_key_, key);
  } else {
    restarts_.push_back(static_cast<uint32_t>(bytes_.size()));
    keys_since_restart_ = 0;
  }
  AppendVarint(shared, &bytes_);
  AppendVarint(key.size() - shared, &bytes_);
  AppendVarint(value.size(), &bytes_);
  bytes_.append(key.substr(shared));
  bytes_.append(value);
  last_key_.assign(key);
  ++keys_since_restart_;
}

std::string TableBlock::Take() {
  for (const uint32_t restart : restarts_) AppendNumber(restart, &bytes_);
  AppendNumber(static_cast<uint32_t>(restarts_.size()), &bytes_);
  restarts_.assign(1, 0);
  keys_since_restart_ = 0;
  last_key_.clear();
  return std::exchange(bytes_, {});
}

void TableBuilder::Add(std::string_view key, std::string_view value) {
  if (key.size() + value.size() >= 2 * kBlockBytes) CloseBlock();
  if (!waiting_handle_.empty()) {
    index_.Add(ShortSeparator(last_key_, key), waiting_handle_);
    waiting_handle_.clear();
  }
  last_key_.assign(key);
  block_.Add(key, value);
  if (block_.size_bytes() >= kBlockBytes) CloseBlock();
}

std::string TableBuilder::Finish() {
  CloseBlock();
  std::string footer = AppendBlock(TableBlock(16).Take());
  if (!waiting_handle_.empty()) index_.Add(ShortSuccessor(last_key_), waiting_handle_);
  footer += AppendBlock(index_.Take());
  footer.resize(kFooterHandlesBytes, '\0');
  AppendNumber(kTableMagic, &footer);
  file_ += footer;
  return std::exchange(file_, {});
}

std::string TableBuilder::AppendBlock(const std::string& block) {
  std::string handle;
  AppendVarint(file_.size(), &handle);
  AppendVarint(block.size(), &handle);
  const size_t begin = file_.size();
  file_ += block;
  file_ += '\0';  // not compressed
  const uint32_t crc = CrcOf(std::string_view(file_).substr(begin));
  AppendNumber(MaskCrc(crc), &file_);
  return handle;
}

void TableBuilder::CloseBlock() {
  if (!block_.empty()) waiting_handle_ = AppendBlock(block_.Take());
}

std::string ShortSeparator(std::string_view key, std::string_view limit) {
  const size_t first = CommonPrefix(key, limit);
  std::string separator(key);
  if (first == std::min(key.size(), limit.size())) return separator;
  if (ByteAt(key, first) == 0xff || ByteAt(key, first) + 1 >= ByteAt(limit, first)) {
    return separator;
  }
  separator.resize(first + 1);
  ++separator[first];
  return separator;
}

std::string ShortSuccessor(std::string_view key) {
  std::string successor(key);
  for (size_t i = 0; i < key.size(); ++i) {
    if (ByteAt(key, i) == 0xff) continue;
    successor.resize(i + 1);
    ++successor[i];
    break;
  }
  return successor;
}

}  // namespace autodist
