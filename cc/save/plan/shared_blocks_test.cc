// Parts of random writers: each block has one, handovers are what that takes, and what is checked
// lies at both sides of the borders.

#include "save/plan/shared_blocks.h"

#include <map>
#include <random>
#include <set>

#include "core/testing/testing.h"

namespace autodist {
namespace {

Part PartOf(int64_t offset, int64_t size_bytes, int writer, int group) {
  return {0, 0, 0, offset, size_bytes, writer, group, {}, {}};
}

std::vector<Part> RandomParts(std::mt19937* random) {
  std::vector<Part> parts;
  const int count = 1 + (*random)() % 30;
  int64_t offset = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t size_bytes = (*random)() % 4 == 0 ? (*random)() % 100 : (*random)() % 7;
    const int group = (*random)() % 4 == 0 ? 0 : Part::kDirect;
    parts.push_back(PartOf(offset, size_bytes, (*random)() % 3, group));
    offset += size_bytes;
  }
  return parts;
}

TEST(EachBlockHasTheWriterOfMostOfItsBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    const std::vector<Part> parts = RandomParts(&random);
    const int64_t size = parts.back().offset + parts.back().size_bytes;
    const int64_t block_bytes = 1 + random() % 16;
    // Byte by byte: who reads it, and in which part.
    std::vector<int> reader(size), part_of(size);
    for (size_t i = 0; i < parts.size(); ++i) {
      for (int64_t at = parts[i].offset; at < parts[i].offset + parts[i].size_bytes; ++at) {
        reader[at] = parts[i].writer;
        part_of[at] = static_cast<int>(i);
      }
    }
    const SharedBlocks shared = ShareBlocks(parts, block_bytes);
    std::vector<int> writer(size, -1);
    int64_t end = 0;
    for (size_t i = 0; i < shared.runs.size(); ++i) {
      const WriterRun& run = shared.runs[i];
      EXPECT_EQ(run.begin, end);
      EXPECT_TRUE(run.end > run.begin);
      EXPECT_TRUE(i == 0 ||
                  (run.begin % block_bytes == 0 && shared.runs[i - 1].writer != run.writer));
      end = run.end;
      for (int64_t at = run.begin; at < run.end; ++at) writer[at] = run.writer;
    }
    EXPECT_EQ(end, size);
    for (int64_t block = 0; block < size; block += block_bytes) {
      std::map<int, int64_t> bytes;
      for (int64_t at = block; at < std::min(size, block + block_bytes); ++at) ++bytes[reader[at]];
      for (const auto& [task, count] : bytes) EXPECT_TRUE(count <= bytes[writer[block]]);
    }
    std::vector<int> given(size, -1);
    int64_t last = 0;
    for (const Handover& handover : shared.handovers) {
      EXPECT_TRUE(handover.begin >= last && handover.end > handover.begin);
      last = handover.end;
      EXPECT_EQ(part_of[handover.end - 1], handover.last_part);
      for (int64_t at = handover.begin; at < handover.end; ++at) {
        EXPECT_EQ(handover.from, reader[at]);
        EXPECT_EQ(handover.group, parts[part_of[at]].group);
        given[at] = handover.to;
      }
    }
    for (int64_t at = 0; at < size; ++at) {
      EXPECT_EQ(given[at], reader[at] == writer[at] ? -1 : writer[at]);
    }
  }
}

TEST(BlocksOfOneByteNeedNoHandover) {
  const std::vector<Part> parts = {PartOf(0, 3, 0, Part::kDirect), PartOf(3, 4, 1, Part::kDirect)};
  const SharedBlocks shared = ShareBlocks(parts, 1);
  EXPECT_EQ(shared.handovers.size(), size_t{0});
  EXPECT_EQ(shared.runs.size(), size_t{2});
}

TEST(AFileWithoutBytesHasNoWriter) {
  EXPECT_EQ(ShareBlocks({}, 4096).runs.size(), size_t{0});
  EXPECT_EQ(ShareBlocks({PartOf(0, 0, 1, Part::kDirect)}, 4096).runs.size(), size_t{0});
}

TEST(BothSidesOfEachBorderAreChecked) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<WriterRun> runs;
    int64_t end = 0;
    const int count = 1 + random() % 40;
    for (int i = 0; i < count; ++i) {
      const int64_t size = 1 + random() % 20000;
      runs.push_back({end, end + size, static_cast<int>(i % 2 + 2 * (random() % 2))});
      end += size;
    }
    const bool is_limited = round % 2 == 1;
    const int64_t limit_bytes = is_limited ? 40000 : int64_t{1} << 40;
    const std::vector<WriterRun> pages = PagesToCheck(runs, limit_bytes);
    std::map<int64_t, const WriterRun*> by_begin;
    int64_t last = 0, total = 0;
    std::set<int64_t> begins, ends;
    for (const WriterRun& page : pages) {
      EXPECT_TRUE(page.begin >= last);
      last = page.end;
      total += page.end - page.begin;
      begins.insert(page.begin);
      ends.insert(page.end);
      bool is_within = false;
      for (const WriterRun& run : runs) {
        is_within = is_within ||
                    (run.begin <= page.begin && page.end <= run.end && run.writer == page.writer);
      }
      EXPECT_TRUE(is_within);
    }
    if (count == 1) {
      EXPECT_EQ(pages.size(), size_t{0});
      continue;
    }
    if (is_limited) EXPECT_TRUE(total <= limit_bytes + 8 * 2 * kPageBytes);
    std::map<int, std::pair<int64_t, int64_t>> of_writer;
    for (const WriterRun& run : runs) {
      of_writer.emplace(run.writer, std::make_pair(run.begin, run.end)).first->second.second =
          run.end;
      if (!is_limited) EXPECT_TRUE(begins.count(run.begin) == 1 && ends.count(run.end) == 1);
    }
    for (const auto& [writer, range] : of_writer) {
      EXPECT_TRUE(begins.count(range.first) == 1 && ends.count(range.second) == 1);
    }
  }
}

}  // namespace
}  // namespace autodist
