// Who goes first where a save has fewer processors than threads. The header tells why.

#include "images/right_of_way.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace autodist {
namespace {

constexpr int64_t kMostNanoseconds = 100'000'000;
// A training step that went on comes to its next page within this time.
constexpr int64_t kLeastQuiet = 50'000;
constexpr int64_t kMostQuiet = 2'000'000;
constexpr std::chrono::microseconds kNap(100);
// How much longer readers give way than handlers work, and what they may give in any case.
constexpr int64_t kMostGivenTimes = 8;
constexpr int64_t kAlwaysGiven = 100'000'000;

int64_t Now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

RightOfWay::Taken::Taken(RightOfWay* way) : way_(*way), begin_(Now()) { ++way_.working_; }

RightOfWay::Taken::~Taken() {
  const int64_t end = Now();
  way_.worked_ += end - begin_;
  way_.clear_at_ = end + std::clamp(end - begin_, kLeastQuiet, kMostQuiet);
  --way_.working_;
}

void RightOfWay::Give() {
  if (clear_at_ == 0 && working_ == 0) return;
  const int64_t begin = Now();
  const int64_t may_give = kAlwaysGiven + kMostGivenTimes * worked_ - given_;
  const int64_t latest = begin + std::min(kMostNanoseconds, may_give);
  int64_t now = begin;
  for (; now < latest && (working_ > 0 || now < clear_at_); now = Now()) {
    std::this_thread::sleep_for(kNap);
  }
  given_ += now - begin;
}

}  // namespace autodist
