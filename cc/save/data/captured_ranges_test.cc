// Bytes that pass in any portions: those of the ranges are kept, all others go on.

#include "save/data/captured_ranges.h"

#include <algorithm>
#include <random>

#include "core/testing/testing.h"

namespace autodist {
namespace {

TEST(BytesOfTheRangesAreKeptAndTheOthersGoOn) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::string file(200, 0);
    for (char& c : file) c = static_cast<char>('a' + random() % 26);
    std::vector<int64_t> ranges;
    for (int64_t at = random() % 20; at < 180;) {
      const int64_t end = at + 1 + random() % 19;
      ranges.insert(ranges.end(), {at, end});
      at = end + (random() % 3 == 0 ? 0 : random() % 30);
    }
    CapturedRanges kept;
    EXPECT_TRUE(kept.Set(ranges).ok());
    std::vector<std::pair<int64_t, int64_t>> portions;
    for (int64_t at = 0; at < 200;) {
      const int64_t end = std::min<int64_t>(200, at + 1 + random() % 50);
      portions.emplace_back(at, end);
      at = end;
    }
    std::shuffle(portions.begin(), portions.end(), random);
    std::string rest(200, 0);
    for (const auto& [begin, end] : portions) {
      const absl::Status status =
          kept.Keep(begin, absl::string_view(file).substr(begin, end - begin),
                    [&](int64_t offset, absl::string_view bytes) {
                      rest.replace(offset, bytes.size(), bytes.data(), bytes.size());
                      return absl::OkStatus();
                    });
      EXPECT_TRUE(status.ok());
    }
    for (size_t i = 0; i < ranges.size(); i += 2) {
      const int64_t size = ranges[i + 1] - ranges[i];
      // Nothing of it went on.
      EXPECT_EQ(rest.substr(ranges[i], size), std::string(size, 0));
      const auto bytes = kept.Take(ranges[i], ranges[i + 1]);
      EXPECT_TRUE(bytes.ok());
      rest.replace(ranges[i], size, bytes.value_or(""));
      EXPECT_TRUE(!kept.Take(ranges[i], ranges[i + 1]).ok());
    }
    EXPECT_EQ(rest, file);
  }
}

TEST(ARangeThatIsNotCompleteIsNotGivenOut) {
  CapturedRanges kept;
  EXPECT_TRUE(kept.Set({10, 20}).ok());
  const auto nothing = [](int64_t, absl::string_view) { return absl::OkStatus(); };
  EXPECT_TRUE(kept.Keep(0, std::string(15, 'x'), nothing).ok());
  EXPECT_TRUE(!kept.Take(10, 20).ok());
  EXPECT_TRUE(!kept.Take(10, 15).ok());
  EXPECT_TRUE(kept.Keep(15, std::string(15, 'y'), nothing).ok());
  EXPECT_EQ(kept.Take(10, 20).value_or(""), "xxxxxyyyyy");
}

TEST(TheErrorOfTheRestIsReturned) {
  CapturedRanges kept;
  EXPECT_TRUE(kept.Set({1, 2}).ok());
  const auto fail = [](int64_t, absl::string_view) { return absl::DataLossError("disk"); };
  EXPECT_TRUE(absl::IsDataLoss(kept.Keep(0, "abc", fail)));
  EXPECT_TRUE(kept.Keep(1, "b", fail).ok());
}

TEST(RangesThatAreNoneAreRefused) {
  CapturedRanges kept;
  EXPECT_TRUE(!kept.Set({0, 2, 1, 3}).ok());
  EXPECT_TRUE(!kept.Set({0, 0}).ok());
  EXPECT_TRUE(!kept.Set({-1, 2}).ok());
  EXPECT_TRUE(!kept.Set({0, 1, 2}).ok());
  EXPECT_TRUE(kept.Set({0, 2, 2, 3}).ok());
}

}  // namespace
}  // namespace autodist
