// Copies and gathers give the bytes of a plain loop, and their CRCs.

#include "tables/writing/copying.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "core/testing/testing.h"
#include "tables/bytes/crc32c.h"

namespace autodist {
namespace {

// A file without a name.
class UnnamedFile {
 public:
  explicit UnnamedFile(const std::string& contents = "") {
    char path[] = "/tmp/copying_test_XXXXXX";
    file_ = OpenFile{mkstemp(path), path};
    unlink(path);
    EXPECT_TRUE(file_.Write(0, static_cast<int64_t>(contents.size()), contents.data()).is_good());
  }
  ~UnnamedFile() { close(file_.descriptor); }

  const OpenFile& get() const { return file_; }

  std::string Contents() const {
    std::string contents(static_cast<size_t>(lseek(file_.descriptor, 0, SEEK_END)), '\0');
    EXPECT_TRUE(file_.Read(0, static_cast<int64_t>(contents.size()), contents.data()).is_good());
    return contents;
  }

 private:
  OpenFile file_;
};

class Numbers {
 public:
  explicit Numbers(uint32_t seed) : random_(seed) {}
  int64_t Between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(random_() % static_cast<uint64_t>(most - least + 1));
  }
  std::string Bytes(int64_t size) {
    std::string bytes(static_cast<size_t>(size), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }

 private:
  std::mt19937 random_;
};

// The bytes of a box of a tensor of `shape`, dense in row-major order.
std::string Part(const std::string& tensor, const Dims& shape, const Box& box, int64_t width) {
  std::string part;
  Dims index(shape.size(), 0);
  for (int64_t i = 0; i < box.elements(); ++i) {
    int64_t at = 0;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      at = at * shape[axis] + box.start[axis] + index[axis];
    }
    part += tensor.substr(static_cast<size_t>(at * width), static_cast<size_t>(width));
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < box.extent[axis]) break;
      index[axis] = 0;
    }
  }
  return part;
}

// Cuts every axis at up to two places.
std::vector<Box> RandomTiling(const Dims& shape, Numbers* numbers) {
  std::vector<Box> boxes{Box::Whole(shape)};
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    std::vector<Box> cut;
    for (const Box& box : boxes) {
      const int64_t at = numbers->Between(0, box.extent[axis]);
      Box first = box, second = box;
      first.extent[axis] = at;
      second.start[axis] += at;
      second.extent[axis] -= at;
      if (first.elements() > 0) cut.push_back(first);
      if (second.elements() > 0) cut.push_back(second);
    }
    boxes = cut;
  }
  return boxes;
}

TEST(GathersAnyBoxFromAnyBoxes) {
  Numbers numbers(1);
  for (int round = 0; round < 200; ++round) {
    Dims shape;
    for (int64_t rank = numbers.Between(0, 4); rank > 0; --rank)
      shape.push_back(numbers.Between(1, 9));
    const int64_t width = int64_t{1} << numbers.Between(0, 3);
    const std::string tensor = numbers.Bytes(Box::Whole(shape).elements() * width);
    std::string stored_bytes = numbers.Bytes(numbers.Between(0, 5));
    std::vector<StoredBox> stored;
    for (const Box& box : RandomTiling(shape, &numbers)) {
      stored.push_back({{}, static_cast<int64_t>(stored_bytes.size()), box});
      stored_bytes += Part(tensor, shape, box, width);
    }
    const UnnamedFile source(stored_bytes);
    for (StoredBox& box : stored) box.file = source.get();
    Box wanted = Box::Whole(shape);
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      wanted.start[axis] = numbers.Between(0, shape[axis]);
      wanted.extent[axis] = numbers.Between(0, shape[axis] - wanted.start[axis]);
    }
    const std::string expected = Part(tensor, shape, wanted, width);
    const UnnamedFile target;
    uint32_t crc = 1;
    const CopyLimits limits{static_cast<int>(numbers.Between(1, 3)), numbers.Between(1, 200)};
    EXPECT_TRUE(GatherBox(stored, {target.get(), 0, wanted}, width, limits, &crc).is_good());
    EXPECT_TRUE(target.Contents() == expected);
    EXPECT_EQ(crc, CrcOf(expected));
    const int64_t begin = numbers.Between(0, wanted.elements());
    const int64_t end = numbers.Between(begin, wanted.elements());
    std::string read(static_cast<size_t>((end - begin) * width), '\0');
    EXPECT_TRUE(ReadBox(stored, wanted, width, begin, end, read.data()).is_good());
    EXPECT_TRUE(read == expected.substr(begin * width, (end - begin) * width));
  }
}

TEST(RefusesBoxesThatAreNotThere) {
  const UnnamedFile source("abcdefgh"), target;
  uint32_t crc = 0;
  const StoredBox wanted{target.get(), 0, {{0}, {8}}};
  const StoredBox hole{source.get(), 0, {{0}, {7}}};
  EXPECT_TRUE(GatherBox({hole}, wanted, 1, {}, &crc).kind() == OutcomeKind::kUnsupported);
  EXPECT_TRUE(GatherBox({hole, hole}, wanted, 1, {}, &crc).kind() == OutcomeKind::kUnsupported);
  const StoredBox beyond{source.get(), 1, {{0}, {8}}};
  EXPECT_TRUE(GatherBox({beyond}, wanted, 1, {}, &crc).kind() == OutcomeKind::kDamaged);
}

TEST(CopiesPartsOfAllSizes) {
  Numbers numbers(2);
  for (int round = 0; round < 50; ++round) {
    const std::string bytes = numbers.Bytes(20000);
    const UnnamedFile source(bytes), target;
    std::vector<CopyPart> parts;
    std::string expected;
    for (int part = 0; part < 200; ++part) {
      const int64_t size = numbers.Between(0, part % 50 == 0 ? 5000 : 40);
      const int64_t from = numbers.Between(0, 20000 - size);
      parts.push_back({from, static_cast<int64_t>(expected.size()), size});
      expected += bytes.substr(static_cast<size_t>(from), static_cast<size_t>(size));
    }
    std::vector<uint32_t> crcs;
    const CopyLimits limits{static_cast<int>(numbers.Between(1, 3)), numbers.Between(1, 9000)};
    EXPECT_TRUE(CopyParts(source.get(), target.get(), parts, limits, &crcs).is_good());
    EXPECT_TRUE(target.Contents() == expected);
    for (size_t part = 0; part < parts.size(); ++part) {
      const std::string copied = expected.substr(static_cast<size_t>(parts[part].target_offset),
                                                 static_cast<size_t>(parts[part].size_bytes));
      EXPECT_EQ(crcs[part], CrcOf(copied));
    }
  }
}

TEST(FilesThatCannotBeReadOrWritten) {
  const UnnamedFile file("abc");
  const OpenFile closed{-5, "closed"};
  std::vector<uint32_t> crcs;
  const std::vector<CopyPart> parts{{0, 0, 3}};
  EXPECT_TRUE(CopyParts(closed, file.get(), parts, {}, &crcs).kind() == OutcomeKind::kUnreadable);
  const OpenFile read_only{open("/dev/null", O_RDONLY), "read-only"};
  EXPECT_TRUE(CopyParts(file.get(), read_only, parts, {}, &crcs).kind() ==
              OutcomeKind::kUnreadable);
  close(read_only.descriptor);
  const std::vector<CopyPart> long_parts{{0, 0, 4}};
  EXPECT_TRUE(CopyParts(file.get(), file.get(), long_parts, {}, &crcs).kind() ==
              OutcomeKind::kDamaged);
}

}  // namespace
}  // namespace autodist
