#include "system_memory/memory_budget.h"

#include <cstdint>
#include <limits>
#include <memory>

#include "absl/strings/match.h"
#include "core/testing/testing.h"

namespace autodist {
namespace {

constexpr int64_t kMebibyte = 1 << 20;

class Machine {
 public:
  std::unique_ptr<MemoryBudget> budget() {
    return std::make_unique<MemoryBudget>([this] { return available; });
  }

  int64_t available = 1000 * kMebibyte;
};

TEST(HalfOfWhatIsAvailableCanBeClaimed) {
  Machine machine;
  EXPECT_EQ(machine.budget()->Claim(500 * kMebibyte, 0), absl::OkStatus());
  const absl::Status status = machine.budget()->Claim(500 * kMebibyte + 1, 0);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "it takes 501 MiB"));
  EXPECT_TRUE(absl::StrContains(status.message(), "of the 1000 MiB"));
  EXPECT_EQ(machine.budget()->Claim(300 * kMebibyte, 400 * kMebibyte), absl::OkStatus());
  EXPECT_TRUE(absl::IsResourceExhausted(machine.budget()->Claim(301 * kMebibyte, 400 * kMebibyte)));
  EXPECT_TRUE(absl::IsResourceExhausted(machine.budget()->Claim(1, 2000 * kMebibyte)));
}

TEST(ClaimsOfOneProcessKnowOfEachOther) {
  Machine machine;
  const auto first = machine.budget();
  EXPECT_EQ(first->Claim(400 * kMebibyte, 0), absl::OkStatus());
  EXPECT_TRUE(absl::IsResourceExhausted(machine.budget()->Claim(301 * kMebibyte, 0)));
  {
    const auto second = machine.budget();
    EXPECT_EQ(second->Claim(300 * kMebibyte, 0), absl::OkStatus());
    EXPECT_TRUE(absl::IsResourceExhausted(machine.budget()->Claim(200 * kMebibyte, 0)));
  }
  EXPECT_EQ(machine.budget()->Claim(300 * kMebibyte, 0), absl::OkStatus());
}

TEST(ItIsNoticedThatOthersTakeTheRest) {
  Machine machine;
  const auto budget = machine.budget();
  EXPECT_EQ(budget->Claim(400 * kMebibyte, 0), absl::OkStatus());
  machine.available = 300 * kMebibyte;
  EXPECT_EQ(budget->Note(100 * kMebibyte), absl::OkStatus());
  machine.available = 299 * kMebibyte;
  // It looks now and then.
  EXPECT_EQ(budget->Note(kMebibyte), absl::OkStatus());
  const absl::Status status = budget->Note(100 * kMebibyte);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "299 MiB"));
}

TEST(WhereTheSystemDoesNotSayEverythingCanBeClaimed) {
  MemoryBudget budget([] { return std::numeric_limits<int64_t>::max(); });
  EXPECT_EQ(budget.Claim(int64_t{1} << 60, int64_t{1} << 60), absl::OkStatus());
  EXPECT_EQ(budget.Note(int64_t{1} << 40), absl::OkStatus());
}

}  // namespace
}  // namespace autodist
