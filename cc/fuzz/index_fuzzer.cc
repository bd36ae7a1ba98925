// The index file: its bytes as they are, or the bytes of its blocks with sums that are right.

#include "fuzz/fuzz_bundle.h"
#include "fuzz/fuzz_input.h"
#include "tables/table/testing_table.h"

namespace autodist::fuzz {

void Fuzz(FuzzInput* input) {
  using testing::TableBytes;
  using testing::TableEntry;
  static auto* const bundle = [] {
    auto* made = new FuzzBundle;
    made->WriteData(std::string(300, 'd'));
    return made;
  }();
  const uint8_t kind = input->TakeByte();
  if (kind == 0) {
    bundle->WriteIndex(input->TakeRest());
  } else if (kind == 1) {
    // Blocks until the input ends; the last one is the index of blocks, raw.
    TableBytes table;
    std::string handles;
    while (!input->is_empty()) {
      const std::string handle = table.AddBlock(input->TakeBytes(input->TakeByte()));
      handles += TableEntry(0, std::string(1, static_cast<char>(handles.size())), handle);
    }
    bundle->WriteIndex(table.Finish(table.AddBlock(handles)));
  } else if (kind == 2) {
    TableBytes table;
    table.AddBlock(input->TakeBytes(input->TakeByte()));
    bundle->WriteIndex(table.Finish(table.AddBlock(input->TakeRest(), input->TakeByte())));
  } else {
    bundle->WriteIndexOf(input->TakeRest());
  }
  bundle->LoadEverything("4 6 0,2:1,3");
}

}  // namespace autodist::fuzz
