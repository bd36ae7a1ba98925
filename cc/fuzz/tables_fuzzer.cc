// What the workbench reads of files: tables, indexes, V1 checkpoints, graphs, compressed blocks.
// The sums of the tables are right; what they say is the input's.

#include <string>
#include <vector>

#include "fuzz/fuzz_bundle.h"
#include "fuzz/fuzz_input.h"
#include "tables/bundle/bundle_index.h"
#include "tables/graph/graph_nodes.h"
#include "tables/saved_slices/saved_slices.h"
#include "tables/sums/range_sums.h"
#include "tables/table/byte_source.h"
#include "tables/table/snappy.h"
#include "tables/table/testing_table.h"

namespace autodist::fuzz {
namespace {

void ReadAsIndex(const ByteSource& source) {
  StoredIndex index;
  if (!ReadStoredIndex(source, &index).is_good()) return;
  const std::string data(300, 'd');
  const MemorySource data_source(data);
  std::vector<StoredRange> ranges;
  for (size_t i = 0; i < index.entries.size(); ++i) {
    const StoredEntry& entry = index.entries[i];
    if (!CheckEntry(index, i).empty() || !entry.slices.empty()) continue;
    ranges.push_back({entry.offset, entry.size_bytes, Content::kStrings, entry.size_bytes});
    ranges.push_back({entry.offset, entry.size_bytes, Content::kPlain, 0});
  }
  RangeSums sums(data_source, ranges, 1);
  while (!sums.WaitFor(1000)) {
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    const bool is_there = ranges[i].offset + ranges[i].size_bytes <= 300;
    Require((sums.sums()[i].state == SumState::kMissing) == !is_there, "a range that is not there");
  }
}

void ReadAsSavedSlices(const ByteSource& source, size_t size) {
  std::vector<std::string> problems;
  const bool is_checked = CheckSavedSlices(source, &problems).is_good();
  std::vector<SavedTensor> tensors;
  const bool is_read = ReadSavedTensors(source, &tensors).is_good();
  Require(is_read || !is_checked, "a file that is checked and cannot be read");
  for (const SavedTensor& tensor : tensors) {
    for (const Slice& slice : tensor.slices) {
      SavedValue value;
      if (!ReadSavedSlice(source, tensor, slice, &value).is_good()) continue;
      Require(value.bytes.size() <= 8 * size, "a value larger than its file");
    }
  }
}

}  // namespace

void Fuzz(FuzzInput* input) {
  const uint8_t kind = input->TakeByte() % 4;
  const std::string bytes = input->TakeRest();
  if (kind == 0) {
    GraphNodes nodes;
    const bool is_saved_model = !bytes.empty() && (bytes[0] & 1) != 0;
    (void)ReadGraphNodes(bytes, is_saved_model ? GraphFile::kSavedModel : GraphFile::kMetaGraph,
                         &nodes);
    return;
  }
  if (kind == 1) {
    std::string uncompressed;
    (void)Uncompress(bytes, &uncompressed);
    return;
  }
  testing::TableBytes table;
  const std::string block = table.AddBlock(bytes);
  const std::string whole =
      kind == 2 ? bytes : table.Finish(table.AddBlock(testing::TableEntry(0, "\xff", block)));
  const MemorySource source(whole);
  ReadAsIndex(source);
  ReadAsSavedSlices(source, whole.size());
}

}  // namespace autodist::fuzz
