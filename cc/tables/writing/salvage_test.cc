// What is sound of a damaged index is found, and nothing else.

#include "tables/writing/salvage.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/testing/testing.h"
#include "tables/bundle/bundle_index.h"
#include "tables/writing/index_writer.h"

namespace autodist {
namespace {

std::vector<StoredEntry> ManyEntries(int count) {
  std::vector<StoredEntry> entries;
  int64_t offset = 0;
  for (int i = 0; i < count; ++i) {
    StoredEntry entry;
    entry.name = "layer_" + std::to_string(1000000 + i) + "/a_name_that_takes_some_space/kernel";
    entry.dtype = 1;
    entry.shape = {i % 7 + 1};
    entry.offset = offset;
    entry.size_bytes = 4 * (i % 7 + 1);
    entry.crc = static_cast<uint32_t>(i) * 77777u;
    offset += entry.size_bytes;
    entries.push_back(entry);
  }
  StoredEntry sliced;
  sliced.name = "sliced";
  sliced.dtype = 1;
  sliced.shape = {6};
  sliced.slices = {{{0, 2}}, {{2, 4}}};
  entries.push_back(sliced);
  for (const Slice& place : sliced.slices) {
    StoredEntry slice = sliced;
    slice.slices.clear();
    slice.is_slice = true;
    slice.slice = place;
    slice.shape = {place[0].length};
    slice.offset = offset;
    slice.size_bytes = 4 * place[0].length;
    entries.push_back(slice);
  }
  return entries;
}

std::string IndexOf(const std::vector<StoredEntry>& entries) {
  std::string bytes;
  EXPECT_TRUE(BuildIndex(1, entries, &bytes).is_good());
  return bytes;
}

// The entries of a salvaged index by key; empty if nothing was salvaged.
std::map<std::string, std::string> SalvagedRows(const std::string& bytes) {
  Salvage salvage;
  std::map<std::string, std::string> rows;
  if (!SalvageIndex(MemorySource(bytes), &salvage).is_good()) return rows;
  StoredIndex index;
  EXPECT_TRUE(ReadStoredIndex(MemorySource(salvage.index), &index).is_good());
  EXPECT_EQ(index.unlisted_slices, 0);
  for (const StoredEntry& entry : index.entries) {
    rows[entry.name + "/" + SliceText(entry.slice)] = SerializeEntry(entry);
  }
  return rows;
}

TEST(ASoundIndexIsSalvagedAsItIs) {
  for (const int count : {1, 100, 20000}) {
    const std::string bytes = IndexOf(ManyEntries(count));
    Salvage salvage;
    EXPECT_TRUE(SalvageIndex(MemorySource(bytes), &salvage).is_good());
    EXPECT_TRUE(salvage.index == bytes);
    EXPECT_EQ(salvage.file_count, 1);
    EXPECT_EQ(salvage.variables, count + 1);
    EXPECT_TRUE(salvage.lost.empty());
  }
}

TEST(AnIndexWithoutFooterIsSearched) {
  const std::string bytes = IndexOf(ManyEntries(20000));
  for (const size_t cut : {1, 47, 48, 100}) {
    Salvage salvage;
    EXPECT_TRUE(
        SalvageIndex(MemorySource(bytes.substr(0, bytes.size() - cut)), &salvage).is_good());
    EXPECT_TRUE(salvage.index == bytes);
  }
}

TEST(DamageLosesRowsAndChangesNone) {
  const std::vector<StoredEntry> entries = ManyEntries(6000);
  const std::string bytes = IndexOf(entries);
  const std::map<std::string, std::string> sound = SalvagedRows(bytes);
  EXPECT_EQ(sound.size(), size_t{6003});
  std::mt19937 random(1);
  int partial = 0;
  for (int round = 0; round < 60; ++round) {
    std::string damaged = bytes;
    switch (round % 4) {
      case 0:
        damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
        break;
      case 1:
        damaged.resize(random() % damaged.size());
        break;
      case 2:
        damaged.erase(random() % damaged.size(), random() % 1000 + 1);
        break;
      default:
        damaged.replace(random() % damaged.size(), 50,
                        std::string(50, static_cast<char>(random())));
    }
    const std::map<std::string, std::string> rows = SalvagedRows(damaged);
    for (const auto& [key, value] : rows) {
      const auto found = sound.find(key);
      EXPECT_TRUE(found != sound.end() && found->second == value);
    }
    partial += !rows.empty() && rows.size() < sound.size();
  }
  EXPECT_TRUE(partial > 0);
}

TEST(WhatIsNoIndexIsNone) {
  Salvage salvage;
  EXPECT_TRUE(!SalvageIndex(MemorySource(""), &salvage).is_good());
  EXPECT_TRUE(!SalvageIndex(MemorySource(std::string(100000, '\0')), &salvage).is_good());
  EXPECT_TRUE(!SalvageIndex(MemorySource(std::string(100000, '\xff')), &salvage).is_good());
}

}  // namespace
}  // namespace autodist
