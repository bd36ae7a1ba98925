#include "sessions/leases.h"

#include <atomic>
#include <thread>
#include <vector>

#include "core/testing/testing.h"

namespace autodist {
namespace {

// Notes when it is touched, and whether it is destroyed while somebody uses it.
class Thing : public Leased {
 public:
  static constexpr char kWhat[] = "thing";

  using Leased::Leased;
  ~Thing() {
    if (users != 0) ++destroyed_in_use;
  }

  void Touch() {
    ++touches;
    Leased::Touch();
  }

  std::atomic<int> touches{0};
  std::atomic<int> users{0};
  static inline std::atomic<int> destroyed_in_use{0};
};

using Things = Leases<Thing>;

std::shared_ptr<Thing> Make(int lease_seconds) {
  return std::make_shared<Thing>(std::chrono::seconds(lease_seconds));
}

TEST(AnIdIsHeldUntilItIsEndedAndNeverAgain) {
  EXPECT_EQ(Things::Get().Add("a", Make(3600)), absl::OkStatus());
  EXPECT_TRUE(absl::IsAlreadyExists(Things::Get().Add("a", Make(3600))));
  EXPECT_EQ(Things::Get().Find("a").status(), absl::OkStatus());
  EXPECT_TRUE(Things::Get().End("a") != nullptr);
  EXPECT_TRUE(Things::Get().End("a") == nullptr);
  EXPECT_TRUE(absl::IsFailedPrecondition(Things::Get().Find("a").status()));
  // An op that began before the end, and is done after it.
  EXPECT_TRUE(absl::IsCancelled(Things::Get().Add("a", Make(3600))));
}

TEST(AnIdThatIsEndedBeforeItIsHeldIsNotHeld) {
  EXPECT_TRUE(Things::Get().End("late") == nullptr);
  EXPECT_TRUE(absl::IsCancelled(Things::Get().Add("late", Make(3600))));
}

TEST(WhatIsInUseStaysAndItsLeaseBeginsWhenItIsLetGo) {
  EXPECT_EQ(Things::Get().Add("b", Make(-1)), absl::OkStatus());
  std::shared_ptr<Thing> used = *Things::Get().Find("b");
  Thing* const thing = used.get();
  Things::Get().RemoveExpired();
  EXPECT_TRUE(Things::Get().FindOrNull("b") != nullptr);
  const int touches = thing->touches;
  std::shared_ptr<Thing> ended = Things::Get().End("b");
  used.reset();
  EXPECT_TRUE(thing->touches > touches);
}

TEST(WhatIsExpiredGoes) {
  EXPECT_EQ(Things::Get().Add("c", Make(-1)), absl::OkStatus());
  Things::Get().RemoveExpired();
  EXPECT_TRUE(Things::Get().FindOrNull("c") == nullptr);
}

TEST(AnythingAtTheSameTime) {
  std::vector<std::thread> threads;
  std::atomic<int> added{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 400; ++round) {
        const std::string id = std::to_string((i / 2 * 400 + round) % 600);
        if (Things::Get().Add(id, Make(round % 3 == 0 ? -1 : 3600)).ok()) ++added;
        if (const auto thing = Things::Get().FindOrNull(id)) {
          ++thing->users;
          std::this_thread::yield();
          --thing->users;
        }
        if (round % 5 == 0) Things::Get().RemoveExpired();
        if (round % 2 == 0) Things::Get().End(id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(added > 0);
  EXPECT_EQ(Thing::destroyed_in_use.load(), 0);
}

}  // namespace
}  // namespace autodist
