#include "barrier/taken_instants.h"

#include <chrono>
#include <string>
#include <thread>

#include "core/testing/testing.h"

namespace autodist {
namespace {

const std::atomic<bool> kGoesOn{false};

BarrierClock::time_point Within(std::chrono::milliseconds time) {
  return BarrierClock::now() + time;
}

TEST(WhoComesLateAndWhoWaitsAreTold) {
  TakenInstants instants;
  std::thread waits(
      [&] { EXPECT_TRUE(instants.Await("one", Within(std::chrono::seconds(60)), kGoesOn)); });
  instants.Note("other");
  EXPECT_TRUE(instants.Await("other", Within(std::chrono::seconds(60)), kGoesOn));
  instants.Note("one");
  waits.join();
}

TEST(AWaitEndsWithItsTimeOrWhenItIsCancelled) {
  TakenInstants instants;
  EXPECT_TRUE(!instants.Await("one", Within(std::chrono::milliseconds(1)), kGoesOn));
  std::atomic<bool> cancelled{false};
  std::thread waits(
      [&] { EXPECT_TRUE(!instants.Await("one", Within(std::chrono::hours(1)), cancelled)); });
  cancelled = true;
  waits.join();
}

TEST(OldOnesAreForgotten) {
  TakenInstants instants;
  for (int i = 0; i < 1000; ++i) instants.Note(std::to_string(i));
  EXPECT_TRUE(instants.Await("999", Within(std::chrono::seconds(0)), kGoesOn));
  EXPECT_TRUE(!instants.Await("0", Within(std::chrono::seconds(0)), kGoesOn));
}

}  // namespace
}  // namespace autodist
