#include "sessions/report_slots.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "core/testing/testing.h"

namespace autodist {
namespace {

using Kind = ReportSlot::Kind;

// A slot for as long as this lives.
class OpenSlot {
 public:
  explicit OpenSlot(std::vector<std::string> paths, Kind kind = Kind::kSave)
      : slot_(ReportSlot::Open(kind, std::move(paths))) {}
  ~OpenSlot() { slot_->Close(); }

  ReportSlot* operator->() { return slot_.get(); }
  int64_t TakeBytes() {
    const std::optional<Report> report = slot_->TakeReport();
    return report ? report->bytes : -1;
  }

 private:
  std::shared_ptr<ReportSlot> slot_;
};

Report OfBytes(int64_t bytes) {
  Report report;
  report.bytes = bytes;
  report.variable_count = 1;
  return report;
}

// An op that moves so many bytes.
void RunOp(const std::string& path, int64_t step_id, int64_t bytes, Kind kind = Kind::kSave) {
  SlotUse use(kind, path, step_id, SlotUse::Clock::now());
  use.progress()->Begin(bytes);
  use.progress()->Add(bytes);
  use.Add(OfBytes(bytes));
}

TEST(AnOpTellsTheSlotOfItsPathAndKind) {
  OpenSlot save({"m", "m_temp/part"}), other({"other"}), restore({"m"}, Kind::kRestore);
  RunOp("m_temp/part", 1, 7);
  other->AddPath("staged");
  EXPECT_EQ(save.TakeBytes(), 7);
  EXPECT_EQ(save->bytes().done, 7);
  EXPECT_EQ(save->bytes().total, 7);
  EXPECT_EQ(other.TakeBytes(), -1);
  EXPECT_EQ(restore.TakeBytes(), -1);
  RunOp("m", 2, 8, Kind::kRestore);
  EXPECT_EQ(restore.TakeBytes(), 8);
  EXPECT_EQ(save.TakeBytes(), -1);
  RunOp("nobody asked", 3, 9);
  RunOp("staged", 4, 9);
  EXPECT_EQ(other.TakeBytes(), 9);
}

TEST(OpsOfOneRunAreSummed) {
  OpenSlot slot({"m"});
  {
    SlotUse first(Kind::kSave, "m", 1, SlotUse::Clock::now());
    SlotUse second(Kind::kSave, "m", 1, SlotUse::Clock::now());
    first.progress()->Begin(10);
    second.progress()->Begin(20);
    first.progress()->Add(3);
    second.progress()->Add(4);
    EXPECT_EQ(slot->bytes().done, 7);
    EXPECT_EQ(slot->bytes().total, 30);
    first.progress()->Begin(5);  // once more, in order
    EXPECT_EQ(slot->bytes().done, 4);
    EXPECT_EQ(slot->bytes().total, 25);
    first.Add(OfBytes(5));
    second.Add(OfBytes(20));
  }
  const std::optional<Report> report = slot->TakeReport();
  EXPECT_TRUE(report.has_value());
  EXPECT_EQ(report->bytes, 25);
  EXPECT_EQ(report->variable_count, 2);
  EXPECT_TRUE(report->seconds >= 0);
  EXPECT_TRUE(!slot->TakeReport());
}

TEST(ALaterRunBeginsAnew) {
  OpenSlot slot({"m"});
  RunOp("m", 1, 10);
  SlotUse again(Kind::kSave, "m", 2, SlotUse::Clock::now());
  EXPECT_EQ(slot.TakeBytes(), -1);
  EXPECT_EQ(slot->bytes().done, 0);
  EXPECT_EQ(slot->bytes().total, 0);
}

TEST(TwoRunsOfOnePathHaveASlotEach) {
  OpenSlot first({"m"}), second({"m"});
  {
    SlotUse one(Kind::kSave, "m", 1, SlotUse::Clock::now());
    SlotUse two(Kind::kSave, "m", 2, SlotUse::Clock::now());
    SlotUse more_of_one(Kind::kSave, "m", 1, SlotUse::Clock::now());
    SlotUse without_a_slot(Kind::kSave, "m", 3, SlotUse::Clock::now());
    one.Add(OfBytes(10));
    two.Add(OfBytes(20));
    more_of_one.Add(OfBytes(1));
    without_a_slot.Add(OfBytes(100));
  }
  const int64_t bytes = first.TakeBytes();
  EXPECT_TRUE(bytes == 11 || bytes == 20);
  EXPECT_EQ(second.TakeBytes(), 31 - bytes);
}

TEST(ARunThatGoesOnInTheSlotOfAnotherIsNotLost) {
  OpenSlot second({"m"});
  std::optional<SlotUse> late;
  {
    OpenSlot first({"m"});
    late.emplace(Kind::kSave, "m", 2, SlotUse::Clock::now());  // uses the newest slot, `first`
    RunOp("m", 1, 10);                                         // uses `second`
    EXPECT_EQ(first.TakeBytes(), 10);
  }
  late->progress()->Begin(20);
  late->Add(OfBytes(20));
  late.reset();
  EXPECT_EQ(second->bytes().total, 20);
  EXPECT_EQ(second.TakeBytes(), 20);
}

TEST(ARunThatUsedTheSlotOfAnotherGetsItsReport) {
  OpenSlot first({"m"});
  OpenSlot second({"m"});
  RunOp("m", 1, 10);
  EXPECT_EQ(first.TakeBytes(), 10);  // whose run that was
  RunOp("m", 2, 20);
  EXPECT_EQ(second.TakeBytes(), 20);
  EXPECT_EQ(first.TakeBytes(), -1);
}

TEST(NothingIsKeptOfWhatIsClosed) {
  EXPECT_EQ(ReportSlot::OpenCount(), 0);
  std::shared_ptr<ReportSlot> slot = ReportSlot::Open(Kind::kSave, {"m"});
  {
    SlotUse late(Kind::kSave, "m", 1, SlotUse::Clock::now());
    EXPECT_EQ(ReportSlot::OpenCount(), 1);
    slot->Close();
    slot->Close();
    slot.reset();
    EXPECT_EQ(ReportSlot::OpenCount(), 0);
    late.progress()->Add(1);
    late.Add(OfBytes(1));
  }
  OpenSlot next({"m"});
  EXPECT_EQ(next.TakeBytes(), -1);
}

TEST(ManyAtTheSameTime) {
  std::atomic<int> mixed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const std::string path = std::to_string(i);
      for (int round = 0; round < 300; ++round) {
        OpenSlot slot({path});
        std::thread op([&] { RunOp(path, 4 * round + i, 1000 * i + round); });
        slot->bytes();
        op.join();
        if (slot.TakeBytes() != 1000 * i + round) ++mixed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(mixed.load(), 0);
  EXPECT_EQ(ReportSlot::OpenCount(), 0);
}

}  // namespace
}  // namespace autodist
