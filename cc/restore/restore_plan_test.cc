#include "restore/restore_plan.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/values/shape_and_slice.h"
#include "format/values/testing_tensors.h"

namespace autodist {
namespace {

using testing::FlatIndices;
using testing::Grid;
using testing::RandomShape;
using testing::RandomTiling;
using testing::SliceOfBox;
using testing::SliceSpec;
using testing::WithoutEmpty;

constexpr int64_t kFloatBytes = 4;

BundleEntry Stored(const std::string& name, const Dims& shape, int64_t offset) {
  BundleEntry entry{};
  entry.name = name;
  entry.dtype = tensorflow::DT_FLOAT;
  entry.shape = shape;
  entry.offset = offset;
  entry.size_bytes = Box::Whole(shape).elements() * kFloatBytes;
  return entry;
}

// Adds a variable that is stored as `boxes`, or whole where there is only one.
void Store(const std::string& name, const Dims& shape, const std::vector<Box>& boxes,
           BundleIndex* index) {
  int64_t offset = 0;
  for (const BundleEntry& entry : index->entries) offset += entry.size_bytes;
  BundleEntry whole = Stored(name, shape, offset);
  if (boxes.size() == 1 && boxes[0] == Box::Whole(shape)) {
    index->entries.push_back(whole);
    return;
  }
  whole.offset = 0;
  whole.size_bytes = 0;
  for (const Box& box : boxes) {
    whole.slices.push_back(SliceOfBox(shape, box));
    whole.slice_entries.push_back(static_cast<int>(index->entries.size()));
    BundleEntry slice = Stored(name, box.extent, offset);
    slice.slice = whole.slices.back();
    offset += slice.size_bytes;
    index->entries.push_back(std::move(slice));
  }
  index->entries.push_back(std::move(whole));
}

BundleIndex NewIndex() { return BundleIndex{1, {}}; }

// Wanted boxes; target i belongs to the i-th of all boxes.
std::vector<RestoreEntry> Want(const std::string& name, const Dims& shape,
                               const std::vector<Box>& boxes, int first_target = 0) {
  std::vector<RestoreEntry> entries;
  for (const Box& box : boxes) {
    entries.push_back({name, SliceSpec(shape, box), tensorflow::DT_FLOAT, first_target++, 1});
  }
  return entries;
}

Box BoxOfPiece(const BundleIndex& index, const Piece& piece, const Dims& shape) {
  const BundleEntry& entry = index.entries[piece.entry];
  return entry.slice ? BoxOf(*entry.slice, shape).value() : Box::Whole(shape);
}

// What a target holds once all pieces are delivered: per element its place in the whole tensor; -1
// where nothing was delivered. Counts deliveries in `count`.
std::vector<int64_t> Deliver(const BundleIndex& index, const Group& group, int target,
                             const Dims& shape, int64_t* count) {
  std::vector<int64_t> elements(Box::Whole(group.targets[target].shape()).elements(), -1);
  for (const Piece& piece : group.pieces) {
    const std::vector<int64_t> stored = FlatIndices(shape, BoxOfPiece(index, piece, shape));
    for (const Delivery& delivery : piece.deliveries) {
      if (delivery.target != target) continue;
      delivery.runs.Visit(0, stored.size(), [&](const Run& run) {
        *count += run.count;
        for (int64_t i = 0; i < run.count; ++i) {
          elements.at(run.source + i) = stored.at(run.output + i);
        }
      });
    }
  }
  return elements;
}

void ExpectOrdered(const Piece& piece) {
  int64_t end = 0;
  for (size_t i = 0; i < piece.deliveries.size(); ++i) {
    const RunPlan& runs = piece.deliveries[i].runs;
    end = std::max(end, runs.end_output());
    EXPECT_EQ(piece.deliveries[i].end, end);
    if (i > 0) EXPECT_TRUE(piece.deliveries[i - 1].runs.first_output() <= runs.first_output());
  }
}

TEST(RandomStoredAndWantedTilingsDeliverEveryElementOnce) {
  std::mt19937 random(61);
  for (int round = 0; round < 1500; ++round) {
    const Dims shape = RandomShape(&random);
    BundleIndex index = NewIndex();
    Store("other", {3}, {Box::Whole({3})}, &index);
    Store("w", shape, WithoutEmpty(shape, RandomTiling(shape, &random)), &index);
    const std::vector<Box> wanted = WithoutEmpty(shape, RandomTiling(shape, &random));
    const absl::StatusOr<RestorePlan> plan = BuildRestorePlan(index, Want("w", shape, wanted));
    EXPECT_EQ(plan.status(), absl::OkStatus());
    EXPECT_EQ(plan->groups.size(), 1u);
    const Group& group = plan->groups[0];
    EXPECT_EQ(group.targets.size(), wanted.size());
    int64_t size_bytes = 0;
    for (const Piece& piece : group.pieces) {
      ExpectOrdered(piece);
      size_bytes += index.entries[piece.entry].size_bytes;
    }
    // Everything is wanted, so every byte is read, and read once.
    EXPECT_EQ(group.size_bytes, Box::Whole(shape).elements() * kFloatBytes);
    EXPECT_EQ(size_bytes, group.size_bytes);
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(group.targets[i].number, static_cast<int>(i));
      int64_t count = 0;
      EXPECT_EQ(Deliver(index, group, static_cast<int>(i), shape, &count),
                FlatIndices(shape, wanted[i]));
      EXPECT_EQ(count, wanted[i].elements());
    }
  }
}

TEST(OnlyThePiecesThatAreWantedAreRead) {
  const Dims shape = {12, 6};
  BundleIndex index = NewIndex();
  Store("w", shape, Grid(shape, 4, 2), &index);
  const auto plan = BuildRestorePlan(index, Want("w", shape, {Box{{2, 0}, {2, 3}}}));
  EXPECT_EQ(plan.status(), absl::OkStatus());
  EXPECT_EQ(plan->groups[0].pieces.size(), 2u);
  EXPECT_EQ(plan->groups[0].size_bytes, 2 * 9 * kFloatBytes);
}

TEST(ReplicasOfAShardShareAPiece) {
  BundleIndex index = NewIndex();
  Store("w", {6}, {Box::Whole({6})}, &index);
  const auto plan = BuildRestorePlan(index, {{"w", "6 0,4", tensorflow::DT_FLOAT, 5, 3}});
  EXPECT_EQ(plan.status(), absl::OkStatus());
  const Group& group = plan->groups[0];
  EXPECT_EQ(group.targets.size(), 3u);
  EXPECT_EQ(group.targets[2].number, 7);
  EXPECT_EQ(group.pieces.size(), 1u);
  EXPECT_EQ(group.pieces[0].deliveries.size(), 3u);
}

TEST(AnEntryThatNobodyTakesIsCheckedAndNotRead) {
  BundleIndex index = NewIndex();
  Store("w", {6}, {Box::Whole({6})}, &index);
  const auto plan = BuildRestorePlan(index, {{"w", "", tensorflow::DT_FLOAT, 0, 0}});
  EXPECT_EQ(plan.status(), absl::OkStatus());
  EXPECT_EQ(plan->groups.size(), 0u);
  EXPECT_TRUE(
      absl::IsNotFound(BuildRestorePlan(index, {{"v", "", tensorflow::DT_FLOAT, 0, 0}}).status()));
}

TEST(AllThatIsMissingAndAllThatDoesNotFitIsNamed) {
  BundleIndex index = NewIndex();
  Store("w", {6}, {Box::Whole({6})}, &index);
  const absl::Status missing =
      BuildRestorePlan(index, {{"a", "", tensorflow::DT_FLOAT, 0, 1},
                               {"w", "", tensorflow::DT_FLOAT, 1, 1},
                               {std::string("b\0\n", 3), "", tensorflow::DT_FLOAT, 2, 1}})
          .status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_EQ(missing.message(),
            "Key a not found in checkpoint\nKey b\\x00\\n not found in checkpoint");
  const absl::Status unfit = BuildRestorePlan(index, {{"w", "", tensorflow::DT_INT32, 0, 1},
                                                      {"w", "7 0,4", tensorflow::DT_FLOAT, 1, 1},
                                                      {"w", "6 5,4", tensorflow::DT_FLOAT, 2, 1},
                                                      {"w", "nothing", tensorflow::DT_FLOAT, 3, 1}})
                                 .status();
  EXPECT_TRUE(absl::IsInvalidArgument(unfit));
  EXPECT_EQ(std::count(unfit.message().begin(), unfit.message().end(), '\n'), 3);
  for (const char* part :
       {"expected dtype int32 does not equal original dtype float",
        "[7] does not match the shape stored in checkpoint: [6]", "takes 4 from 5", "'nothing'"}) {
    EXPECT_TRUE(absl::StrContains(unfit.message(), part));
  }
}

// A plan of all of "w", [4, 6] in a 2 x 2 grid, after `change` was made to the index. Entries 0 to
// 3 of the index are the slices; entry 4 lists them.
absl::Status PlanAfter(const std::function<void(BundleIndex*)>& change) {
  const Dims shape = {4, 6};
  BundleIndex index = NewIndex();
  Store("w", shape, Grid(shape, 2, 2), &index);
  change(&index);
  return BuildRestorePlan(index, Want("w", shape, Grid(shape, 1, 3))).status();
}

TEST(AnIndexThatLiesIsRefused) {
  using Change = std::function<void(BundleIndex*)>;
  const std::pair<const char*, Change> changes[] = {
      {"is in data file 1 of 1", [](BundleIndex* i) { i->entries[1].shard_id = 1; }},
      {"is in data file -1 of 1", [](BundleIndex* i) { i->entries[1].shard_id = -1; }},
      {"are not a range", [](BundleIndex* i) { i->entries[2].offset = -4; }},
      {"are not a range", [](BundleIndex* i) { i->entries[2].offset = INT64_MAX - 3; }},
      {"are not a range", [](BundleIndex* i) { i->entries[2].size_bytes = -24; }},
      {"20 bytes are not a float of shape [2, 3]",
       [](BundleIndex* i) { i->entries[0].size_bytes = 20; }},
      {"25 bytes are not a float", [](BundleIndex* i) { i->entries[0].size_bytes = 25; }},
      {"is a int32 of shape [2, 3]",
       [](BundleIndex* i) { i->entries[3].dtype = tensorflow::DT_INT32; }},
      {"of shape [3, 2]", [](BundleIndex* i) { i->entries[3].shape = {3, 2}; }},
      {"of shape [6]", [](BundleIndex* i) { i->entries[3].shape = {6}; }},
      {"overlap in", [](BundleIndex* i) { i->entries[4].slices[1] = i->entries[4].slices[0]; }},
      {"takes 2 from 3",
       [](BundleIndex* i) { i->entries[4].slices[2] = tensorflow::TensorSlice({{3, 2}, {0, 3}}); }},
      {"a slice of 1",
       [](BundleIndex* i) { i->entries[4].slices[2] = tensorflow::TensorSlice({{2, 2}}); }},
      {"is missing",
       [](BundleIndex* i) {
         i->entries[4].slices.pop_back();
         i->entries[4].slice_entries.pop_back();
       }},
      {"but the tensor is", [](BundleIndex* i) { i->entries[0].slices = i->entries[4].slices; }},
  };
  EXPECT_EQ(PlanAfter([](BundleIndex*) {}), absl::OkStatus());
  for (const auto& [text, change] : changes) {
    const absl::Status status = PlanAfter(change);
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_TRUE(absl::StrContains(status.message(), "tensor 'w'"));
    if (!absl::StrContains(status.message(), text)) EXPECT_EQ(status.message(), text);
  }
}

TEST(AHoleInWhatIsNotWantedIsAllowed) {
  const Dims shape = {6, 2};
  BundleIndex index = NewIndex();
  Store("w", shape, {Box{{0, 0}, {2, 2}}, Box{{4, 0}, {2, 2}}}, &index);
  const std::vector<Box> wanted = {Box{{4, 0}, {1, 2}}, Box{{0, 1}, {2, 1}}};
  EXPECT_EQ(BuildRestorePlan(index, Want("w", shape, wanted)).status(), absl::OkStatus());
  const absl::Status hole =
      BuildRestorePlan(index, Want("w", shape, {Box{{1, 0}, {4, 2}}})).status();
  EXPECT_TRUE(absl::IsDataLoss(hole));
  EXPECT_TRUE(absl::StrContains(hole.message(), "rows [1, 3) are missing"));
}

TEST(ADtypeThatCannotBeCopiedIsRefused) {
  BundleIndex index = NewIndex();
  Store("w", {2}, {Box::Whole({2})}, &index);
  index.entries[0].dtype = tensorflow::DT_VARIANT;
  EXPECT_TRUE(absl::IsUnimplemented(
      BuildRestorePlan(index, {{"w", "", tensorflow::DT_VARIANT, 0, 1}}).status()));
}

TEST(GroupsAreInFileOrder) {
  BundleIndex index = NewIndex();
  for (const char* name : {"c", "b", "a"}) Store(name, {2}, {Box::Whole({2})}, &index);
  std::vector<RestoreEntry> entries;
  for (const char* name : {"a", "b", "c"}) {
    entries.push_back({name, "", tensorflow::DT_FLOAT, static_cast<int>(entries.size()), 1});
  }
  const auto plan = BuildRestorePlan(index, entries);
  EXPECT_EQ(plan.status(), absl::OkStatus());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(plan->groups[i].targets[0].number, 2 - i);
}

}  // namespace
}  // namespace autodist
