#include "images/right_of_way.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "core/testing/testing.h"

namespace autodist {
namespace {

using Clock = std::chrono::steady_clock;

TEST(AReaderWaitsForHandlersAndNotForEver) {
  RightOfWay way;
  way.Give();
  auto handler = std::make_unique<RightOfWay::Taken>(&way);
  std::atomic<bool> has_waited{false};
  std::thread reader([&] {
    way.Give();
    has_waited = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(!has_waited);
  const Clock::time_point end = Clock::now();
  handler.reset();
  reader.join();
  // The handler worked for longer than a reader waits afterwards.
  EXPECT_TRUE(Clock::now() - end >= std::chrono::milliseconds(2));

  const RightOfWay::Taken stuck(&way);
  way.Give();
}

}  // namespace
}  // namespace autodist
