#include "format/index/table_reader.h"

#include <fstream>
#include <map>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "storage/testing/testing_directory.h"
#include "tables/table/testing_table.h"
#include "tensorflow/core/platform/env.h"
#include "versions/testing_table_builder.h"

namespace autodist {
namespace {

using testing::Handle;
using testing::ReadFile;
using testing::TableBytes;
using testing::TableEntry;
using testing::TemporaryDirectory;

using Entries = std::vector<std::pair<std::string, std::string>>;

// Reads a file of these bytes.
absl::Status ReadBytes(const std::string& bytes, Entries* entries) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/table";
  std::ofstream(path, std::ios::binary).write(bytes.data(), bytes.size());
  entries->clear();
  const absl::Status status = ReadTable(path, [&](const std::string& key, absl::string_view value) {
    entries->emplace_back(key, std::string(value));
    return absl::OkStatus();
  });
  if (absl::IsDataLoss(status)) EXPECT_TRUE(absl::StrContains(status.message(), path));
  return status;
}

absl::Status ReadBytes(const std::string& bytes) {
  Entries unused;
  return ReadBytes(bytes, &unused);
}

// The bytes of a table that TensorFlow writes.
std::string StockTable(const std::map<std::string, std::string>& entries, size_t block_bytes,
                       int restart_interval) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/stock";
  std::unique_ptr<tsl::WritableFile> file;
  EXPECT_EQ(tsl::Env::Default()->NewWritableFile(path, &file), absl::OkStatus());
  tsl::table::Options options;
  options.compression = tsl::table::kNoCompression;
  options.block_size = block_bytes;
  options.block_restart_interval = restart_interval;
  tsl::table::TableBuilder builder(options, file.get());
  for (const auto& [key, value] : entries) builder.Add(key, value);
  EXPECT_EQ(builder.Finish(), absl::OkStatus());
  EXPECT_EQ(file->Close(), absl::OkStatus());
  return ReadFile(path);
}

TEST(WhatTensorFlowWritesIsRead) {
  std::mt19937 random(81);
  for (int round = 0; round < 60; ++round) {
    std::map<std::string, std::string> written;
    const int count = round == 0 ? 0 : static_cast<int>(random() % 400);
    for (int i = 0; i < count; ++i) {
      // Keys with much in common, and some that are bytes.
      std::string key = absl::StrCat("layer_", random() % 9, "/", std::string(random() % 60, 'k'));
      if (i % 3 == 0) key.push_back(static_cast<char>(random()));
      if (i % 50 == 0) key.insert(0, 1, '\0');
      written[i == 1 ? "" : key] = std::string(random() % 90, static_cast<char>(random()));
    }
    const size_t block_bytes = round % 2 == 0 ? 262144 : 256;
    const std::string bytes = StockTable(written, block_bytes, round % 3 == 0 ? 1 : 16);
    Entries read;
    EXPECT_EQ(ReadBytes(bytes, &read), absl::OkStatus());
    EXPECT_TRUE(read == Entries(written.begin(), written.end()));
    // No byte of it can be cut off, and none but those of the meta index changed.
    if (round % 10 == 0) {
      for (size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 40) {
        EXPECT_TRUE(absl::IsDataLoss(ReadBytes(bytes.substr(0, size))));
      }
    }
  }
}

// A table of one data block of these entries.
std::string OneBlock(const std::string& entries, uint32_t restarts = 1, char kind = '\0') {
  TableBytes table;
  const std::string data = table.AddBlock(entries, restarts, kind);
  return table.Finish(table.AddBlock(TableEntry(0, "z", data)));
}

void ExpectDamaged(const std::string& bytes, absl::string_view text) {
  const absl::Status status = ReadBytes(bytes);
  EXPECT_TRUE(absl::IsDataLoss(status));
  if (!absl::StrContains(status.message(), text)) EXPECT_EQ(status.message(), text);
}

TEST(OneBlockIsATable) {
  Entries read;
  EXPECT_EQ(ReadBytes(OneBlock(TableEntry(0, "abc", "1") + TableEntry(2, "d", "2")), &read),
            absl::OkStatus());
  EXPECT_TRUE(read == Entries({{"abc", "1"}, {"abd", "2"}}));
}

TEST(AFileThatIsNoTableIsRefused) {
  ExpectDamaged("", "too short");
  ExpectDamaged(std::string(47, 'x'), "too short");
  ExpectDamaged(std::string(48, 'x'), "magic number");
  ExpectDamaged(TableBytes().Finish(std::string(30, '\xff')), "footer");
}

TEST(ABlockThatLiesOutsideIsRefused) {
  const std::pair<uint64_t, uint64_t> handles[] = {
      {0, 0},          {0, UINT64_MAX}, {UINT64_MAX, 0},
      {UINT64_MAX, 1}, {0, 1u << 30},   {UINT64_MAX - 3, UINT64_MAX - 3},
      {INT64_MAX, 5},  {1000, 1}};
  for (const auto& [offset, size_bytes] : handles) {
    const std::string handle = Handle(offset, size_bytes);
    EXPECT_TRUE(absl::IsDataLoss(ReadBytes(TableBytes().Finish(handle))));
    TableBytes table;
    table.AddBlock(TableEntry(0, "a", "1"));
    EXPECT_TRUE(
        absl::IsDataLoss(ReadBytes(table.Finish(table.AddBlock(TableEntry(0, "z", handle))))));
  }
  TableBytes table;
  table.AddBlock(TableEntry(0, "a", "1"));
  ExpectDamaged(table.Finish(table.AddBlock(TableEntry(0, "z", "\xff"))),
                "where a block lies cannot be read");
}

TEST(LengthsThatDoNotFitAreRefused) {
  const std::string good = TableEntry(0, "abc", "1");
  ExpectDamaged(OneBlock(TableEntry(1, "abc", "1")), "lengths do not fit");
  ExpectDamaged(OneBlock(good + TableEntry(4, "d", "1")), "lengths do not fit");
  for (uint64_t length : {uint64_t{9}, uint64_t{1} << 40, UINT64_MAX}) {
    std::string rest, value;
    for (uint64_t number : {uint64_t{0}, length, uint64_t{0}}) AppendVarint(number, &rest);
    for (uint64_t number : {uint64_t{0}, uint64_t{1}, length}) {
      AppendVarint(number, &value);
    }
    ExpectDamaged(OneBlock(good + rest), "lengths do not fit");
    ExpectDamaged(OneBlock(good + value + "x"), "lengths do not fit");
  }
  ExpectDamaged(OneBlock(good + std::string(12, '\xff')), "lengths do not fit");
  ExpectDamaged(OneBlock(good, 1000), "restart points do not fit");
  ExpectDamaged(OneBlock(good, UINT32_MAX), "restart points do not fit");
  ExpectDamaged(OneBlock(good, 1, '\x01'), "compressed");
}

TEST(AFewBytesCannotStandForManyEntries) {
  // One block that the index lists a thousand times.
  TableBytes repeated;
  const std::string data = repeated.AddBlock(TableEntry(0, "a", "1") + TableEntry(0, "b", "1"));
  std::string index;
  for (int i = 0; i < 1000; ++i) index += TableEntry(0, absl::StrCat("z", i), data);
  ExpectDamaged(repeated.Finish(repeated.AddBlock(index)), "ascending order");

  // Keys that each are the one before and one byte more.
  std::string growing = TableEntry(0, std::string(5000, 'a'), "");
  for (int i = 0; i < 3000; ++i) growing += TableEntry(5000 + i, "a", "");
  ExpectDamaged(OneBlock(growing), "longer than its bytes");

  ExpectDamaged(OneBlock(TableEntry(0, "b", "1") + TableEntry(0, "a", "1")), "ascending order");
  ExpectDamaged(OneBlock(TableEntry(0, "a", "1") + TableEntry(1, "", "1")), "ascending order");
  ExpectDamaged(OneBlock(TableEntry(0, "", "1") + TableEntry(0, "", "1")), "ascending order");
}

TEST(WhatTheVisitorFindsIsPassedOn) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/table";
  const std::string bytes = OneBlock(TableEntry(0, "a", "1") + TableEntry(0, "b", "2"));
  std::ofstream(path, std::ios::binary).write(bytes.data(), bytes.size());
  int visits = 0;
  const absl::Status status = ReadTable(path, [&](const std::string&, absl::string_view) {
    ++visits;
    return absl::UnimplementedError("no");
  });
  EXPECT_EQ(status, absl::UnimplementedError("no"));
  EXPECT_EQ(visits, 1);
  EXPECT_TRUE(absl::IsNotFound(ReadTable(directory.path() + "/none", nullptr)));
}

}  // namespace
}  // namespace autodist
