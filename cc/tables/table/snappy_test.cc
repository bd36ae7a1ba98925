#include "tables/table/snappy.h"

#include <random>
#include <string>

#include "core/testing/testing.h"
#include "tables/bytes/varint.h"
#include "tables/table/byte_source.h"
#include "tables/table/table_reader.h"
#include "tables/table/testing_table.h"

namespace autodist {
namespace {

std::string Compressed(uint64_t size, const std::string& elements) {
  std::string bytes;
  AppendVarint(size, &bytes);
  return bytes + elements;
}

std::string Literal(const std::string& text) {
  return std::string(1, static_cast<char>((text.size() - 1) << 2)) + text;
}

void ExpectUncompressed(const std::string& compressed, const std::string& wanted) {
  std::string bytes;
  EXPECT_TRUE(Uncompress(compressed, &bytes).is_good());
  EXPECT_EQ(bytes, wanted);
}

TEST(ElementsOfEachKindAreUncompressed) {
  ExpectUncompressed(Compressed(0, ""), "");
  ExpectUncompressed(Compressed(3, Literal("abc")), "abc");
  // A literal of 100 bytes, whose length stands in a byte of its own.
  ExpectUncompressed(Compressed(100, std::string("\xf0\x63") + std::string(100, 'z')),
                     std::string(100, 'z'));
  // Copies of 4 bytes from 3 back, of one and of two bytes' offset; they overlap themselves.
  ExpectUncompressed(Compressed(7, Literal("abc") + std::string("\x01\x03", 2)), "abcabca");
  ExpectUncompressed(Compressed(7, Literal("abc") + std::string("\x0e\x03\x00", 3)), "abcabca");
  ExpectUncompressed(Compressed(7, Literal("abc") + std::string("\x0f\x03\0\0\0", 5)), "abcabca");
}

TEST(BytesThatAreNoCompressedBlockAreRefused) {
  const std::string cases[] = {
      "",
      Compressed(1000, Literal("abc")),                            // more than they can stand for
      Compressed(4, Literal("abc")),                               // fewer than said
      Compressed(2, Literal("abc")),                               // more than said
      Compressed(7, Literal("abc") + std::string("\x01\x04", 2)),  // from before the begin
      Compressed(7, Literal("abc") + std::string("\x01\x00", 2)),  // from itself
      Compressed(5, Literal("abc") + std::string("\x01\x03", 2)),  // beyond the end
      Compressed(7, Literal("abc") + std::string("\x0e\x03", 2)),  // ends within a copy
      Compressed(70, std::string("\xf4\xff", 2)),                  // ends within a length
      Compressed(9, std::string("\xfc\xff\xff\xff\xff\xff", 6)),   // a literal of 4 GiB
  };
  for (const std::string& compressed : cases) {
    std::string bytes;
    EXPECT_TRUE(Uncompress(compressed, &bytes).kind() == OutcomeKind::kDamaged);
  }
}

TEST(DrawnBytesAreRefusedOrUncompressed) {
  std::mt19937 random(4);
  for (int round = 0; round < 20000; ++round) {
    std::string drawn(random() % 40, '\0');
    for (char& c : drawn) c = static_cast<char>(random());
    std::string bytes;
    if (Uncompress(drawn, &bytes).is_good()) EXPECT_TRUE(bytes.size() <= 22 * drawn.size());
  }
}

TEST(ACompressedBlockOfATableIsRead) {
  std::string entries = testing::TableEntry(0, "key", "value");
  AppendNumber(uint32_t{0}, &entries);
  AppendNumber(uint32_t{1}, &entries);
  const std::string compressed = Compressed(entries.size(), Literal(entries));
  std::string table = compressed + '\1';
  AppendNumber(MaskCrc(CrcOf(table)), &table);
  std::string index = testing::TableEntry(0, "z", testing::Handle(0, compressed.size()));
  AppendNumber(uint32_t{0}, &index);
  AppendNumber(uint32_t{1}, &index);
  const std::string handle = testing::Handle(table.size(), index.size());
  index += '\0';
  AppendNumber(MaskCrc(CrcOf(index)), &index);
  std::string footer = testing::Handle(0, 0) + handle;
  footer.resize(40, '\0');
  AppendNumber(uint64_t{0xdb4775248b80fb57}, &footer);
  const std::string whole = table + index + footer;
  std::string found;
  EXPECT_TRUE(ReadTable(MemorySource(whole), [&](const std::string& key, std::string_view value) {
                found = key + "=" + std::string(value);
                return Outcome::Good();
              }).is_good());
  EXPECT_EQ(found, "key=value");
}

}  // namespace
}  // namespace autodist
