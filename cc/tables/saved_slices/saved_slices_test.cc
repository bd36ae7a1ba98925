#include "tables/saved_slices/saved_slices.h"

#include <random>
#include <string>

#include "core/testing/testing.h"
#include "tables/bytes/varint.h"
#include "tables/table/testing_table.h"

namespace autodist {
namespace {

std::string BytesField(int number, const std::string& bytes) {
  std::string field(1, static_cast<char>(number << 3 | 2));
  AppendVarint(bytes.size(), &field);
  return field + bytes;
}

std::string NumberField(int number, uint64_t value) {
  std::string field(1, static_cast<char>(number << 3));
  AppendVarint(value, &field);
  return field;
}

constexpr int32_t kInt32 = 3;

// The list of one tensor `w` of shape [2] that is stored whole.
std::string ListOfW(int32_t dtype) {
  const std::string shape = BytesField(2, NumberField(1, 2));
  const std::string slice = BytesField(1, "");
  return BytesField(1, BytesField(1, BytesField(1, "w") + BytesField(2, shape) +
                                         NumberField(3, dtype) + BytesField(4, slice)));
}

std::string ValueOf(const std::string& tensor) { return BytesField(2, BytesField(3, tensor)); }

std::string TableOf(const std::string& list, const std::string& key, const std::string& value) {
  testing::TableBytes table;
  const std::string block =
      table.AddBlock(testing::TableEntry(0, "", list) + testing::TableEntry(0, key, value));
  return table.Finish(table.AddBlock(testing::TableEntry(0, "\xff", block)));
}

const Slice& AllOfW() {
  static const auto* const slice = new Slice{{0, kAllOfAxis}};
  return *slice;
}

TEST(AValueIsReadOutOfItsField) {
  // The numbers 5 and -1, packed.
  std::string packed;
  AppendVarint(5, &packed);
  AppendVarint(UINT64_MAX, &packed);
  const std::string bytes =
      TableOf(ListOfW(kInt32), SliceKey("w", AllOfW()), ValueOf(BytesField(7, packed)));
  const MemorySource source(bytes);
  std::vector<SavedTensor> tensors;
  EXPECT_TRUE(ReadSavedTensors(source, &tensors).is_good());
  EXPECT_EQ(tensors.size(), size_t{1});
  SavedValue value;
  EXPECT_TRUE(ReadSavedSlice(source, tensors[0], AllOfW(), &value).is_good());
  EXPECT_EQ(value.bytes, std::string("\5\0\0\0\xff\xff\xff\xff", 8));
  std::vector<std::string> problems;
  EXPECT_TRUE(CheckSavedSlices(source, &problems).is_good());
  EXPECT_TRUE(problems.empty());
}

TEST(AValueThatDoesNotFitIsRefused) {
  const std::string key = SliceKey("w", AllOfW());
  const std::string one = ValueOf(BytesField(7, std::string(1, '\5')));
  for (const std::string& bytes :
       {TableOf(ListOfW(kInt32), key, one), TableOf(ListOfW(kInt32), key, ""),
        TableOf(ListOfW(kInt32), key, ValueOf(BytesField(7, "\xff"))),
        TableOf(ListOfW(7), key, ValueOf(BytesField(8, "a"))), TableOf(ListOfW(20), key, one),
        TableOf(ListOfW(kInt32), SliceKey("v", AllOfW()), one)}) {
    const MemorySource source(bytes);
    std::vector<SavedTensor> tensors;
    EXPECT_TRUE(ReadSavedTensors(source, &tensors).is_good());
    SavedValue value;
    EXPECT_TRUE(!ReadSavedSlice(source, tensors[0], AllOfW(), &value).is_good());
    std::vector<std::string> problems;
    EXPECT_TRUE(CheckSavedSlices(source, &problems).is_good());
    EXPECT_TRUE(!problems.empty());
  }
}

TEST(AFileWithoutAListIsRefused) {
  for (const std::string& list : {std::string(), std::string("\xff"), BytesField(2, ""),
                                  BytesField(1, BytesField(1, "\xff"))}) {
    const std::string bytes = TableOf(list, "k", "");
    const MemorySource source(bytes);
    std::vector<SavedTensor> tensors;
    EXPECT_TRUE(!ReadSavedTensors(source, &tensors).is_good());
  }
}

}  // namespace
}  // namespace autodist
