// Tables of ours have the bytes of TensorFlow's.

#include "tables/table/table_builder.h"

#include <map>
#include <memory>
#include <random>
#include <string>

#include "core/testing/testing.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/platform/env.h"
#include "versions/testing_table_builder.h"

namespace autodist {
namespace {

using testing::ReadFile;
using testing::TemporaryDirectory;

using Rows = std::map<std::string, std::string>;

std::string BytesOfStock(const Rows& rows) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/stock";
  std::unique_ptr<tsl::WritableFile> file;
  EXPECT_EQ(tsl::Env::Default()->NewWritableFile(path, &file), absl::OkStatus());
  tsl::table::Options options;
  options.compression = tsl::table::kNoCompression;
  tsl::table::TableBuilder builder(options, file.get());
  for (const auto& [key, value] : rows) builder.Add(key, value);
  EXPECT_EQ(builder.Finish(), absl::OkStatus());
  EXPECT_EQ(file->Close(), absl::OkStatus());
  return ReadFile(path);
}

std::string BytesOfOurs(const Rows& rows) {
  TableBuilder builder;
  for (const auto& [key, value] : rows) builder.Add(key, value);
  return builder.Finish();
}

class RandomText {
 public:
  explicit RandomText(uint32_t seed) : numbers_(seed) {}

  size_t Below(size_t limit) { return numbers_() % limit; }

  // Of few characters, so that keys share beginnings; among them those that separators depend on.
  std::string Text(size_t most) {
    static constexpr char kCharacters[] = {'\x00', '\x01', 'a',    'b',
                                           '\x7f', '\x80', '\xfe', '\xff'};
    std::string text(Below(most + 1), '\0');
    for (char& c : text) c = kCharacters[Below(sizeof(kCharacters))];
    return text;
  }

 private:
  std::mt19937 numbers_;
};

TEST(TableWithoutRows) { EXPECT_TRUE(BytesOfOurs({}) == BytesOfStock({})); }

TEST(TablesOfOneBlock) {
  RandomText random(1);
  for (int i = 0; i < 200; ++i) {
    Rows rows;
    for (size_t row = random.Below(60); row > 0; --row) rows[random.Text(12)] = random.Text(40);
    EXPECT_TRUE(BytesOfOurs(rows) == BytesOfStock(rows));
  }
}

TEST(TablesOfManyBlocks) {
  RandomText random(2);
  for (int i = 0; i < 20; ++i) {
    Rows rows;
    for (int row = 0; row < 3000; ++row) rows[random.Text(30)] = random.Text(1500);
    EXPECT_TRUE(BytesOfOurs(rows) == BytesOfStock(rows));
  }
}

TEST(TablesWithRowsLargerThanBlocks) {
  RandomText random(3);
  for (const size_t size : {262143, 262144, 262145, 524280, 524288, 524289, 1000000}) {
    Rows rows;
    for (int row = 0; row < 8; ++row) {
      rows[random.Text(5)] = std::string(row % 2 == 0 ? size : 3, 'v');
    }
    EXPECT_TRUE(BytesOfOurs(rows) == BytesOfStock(rows));
  }
}

TEST(TablesWhoseKeysHaveNoShortSuccessor) {
  Rows rows;
  for (int length = 1; length < 40; ++length) {
    rows[std::string(length, '\xff')] = std::string(100000, 'v');
  }
  EXPECT_TRUE(BytesOfOurs(rows) == BytesOfStock(rows));
}

}  // namespace
}  // namespace autodist
