// Builds TensorFlow's sorted tables, the format of a checkpoint's index.
//
// The bytes are those of tsl::table::TableBuilder (TensorFlow 2.21) without compression, as stock
// BundleWriter and MergeBundles use it:
//
//   block        closed once it holds `kBlockBytes`; every 16th key is stored in full
//   index block  one row for each block: a short key that is at least the block's last key and
//                below the next block's first; every key in full
//   footer       48 bytes, see table_reader.h
//
// Stock closes a block early, before an entry that is twice as large as a block.

#ifndef AUTODIST_TABLES_TABLE_TABLE_BUILDER_H_
#define AUTODIST_TABLES_TABLE_TABLE_BUILDER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace autodist {

// The entries and restart points of one block.
class TableBlock {
 public:
  explicit TableBlock(int restart_interval) : restart_interval_(restart_interval) {}

  bool empty() const { return bytes_.empty(); }
  // As it will be once finished.
  size_t size_bytes() const { return bytes_.size() + 4 * (restarts_.size() + 1); }

  void Add(std::string_view key, std::string_view value);

  // Returns the block's bytes, and begins the next one.
  std::string Take();

 private:
  const int restart_interval_;
  std::string bytes_;
  std::vector<uint32_t> restarts_{0};
  int keys_since_restart_ = 0;
  std::string last_key_;
};

class TableBuilder {
 public:
  static constexpr size_t kBlockBytes = 262144;

  // REQUIRES: `key` is above the one before, byte by byte; both have less than 4 GiB.
  void Add(std::string_view key, std::string_view value);

  // The bytes of the file. Called once, last.
  std::string Finish();

 private:
  // Where a block lies, as the index block and the footer store it.
  std::string AppendBlock(const std::string& block);
  void CloseBlock();

  std::string file_;
  TableBlock block_{16};
  TableBlock index_{1};
  std::string last_key_;
  // Of a block that is closed, and not in the index yet: its row waits for the next key.
  std::string waiting_handle_;
};

// The shortest key k with `key` <= k < `limit` that is found by raising one byte of `key`; else
// `key`. REQUIRES: key < limit.
std::string ShortSeparator(std::string_view key, std::string_view limit);

// A short key that is at least `key`.
std::string ShortSuccessor(std::string_view key);

}  // namespace autodist

#endif  // AUTODIST_TABLES_TABLE_TABLE_BUILDER_H_
