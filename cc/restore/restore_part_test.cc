// Parts of random plans: each task gets what the plan of all has for it, and no other numbers are
// taken.

#include "restore/restore_part.h"

#include <random>
#include <set>
#include <tuple>
#include <utility>

#include "core/testing/testing.h"
#include "format/values/element_type.h"
#include "format/values/testing_tensors.h"

namespace autodist {
namespace {

using testing::RandomShape;
using testing::RandomTiling;
using testing::SliceOfBox;
using testing::SliceSpec;
using testing::WithoutEmpty;

constexpr int kTasks = 3;

struct Case {
  BundleIndex index;
  RestorePlan plan;
  std::vector<TargetPlace> places;
  std::vector<int> counts;  // of targets, by task
};

// Stores a variable in boxes, in data files by turns.
void Store(const std::string& name, tensorflow::DataType dtype, const Dims& shape,
           const std::vector<Box>& boxes, BundleIndex* index) {
  BundleEntry whole{};
  whole.name = name;
  whole.dtype = dtype;
  whole.shape = shape;
  const bool is_whole = boxes.size() == 1 && boxes[0] == Box::Whole(shape);
  const int first = static_cast<int>(index->entries.size());
  index->entries.push_back(whole);
  for (const Box& box : boxes) {
    const int number = static_cast<int>(index->entries.size());
    BundleEntry piece = whole;
    piece.shape = box.extent;
    piece.shard_id = number % index->shard_count;
    piece.offset = 1000 * number;
    piece.size_bytes = box.elements() * SavedElementBytes(dtype);
    if (is_whole) {
      index->entries[first] = piece;
      return;
    }
    piece.slice = SliceOfBox(shape, box);
    index->entries[first].slices.push_back(*piece.slice);
    index->entries[first].slice_entries.push_back(number);
    index->entries.push_back(piece);
  }
}

// Some variables, stored in one layout and wanted in another, some of it several times.
Case RandomCase(std::mt19937* random) {
  Case made;
  made.index.shard_count = 1 + static_cast<int>((*random)() % 3);
  made.counts.resize(kTasks);
  std::vector<RestoreEntry> entries;
  for (const std::string name : {"a", "b", "c"}) {
    const auto dtype = (*random)() % 2 == 0 ? tensorflow::DT_FLOAT : tensorflow::DT_INT64;
    const Dims shape = RandomShape(random);
    Store(name, dtype, shape, WithoutEmpty(shape, RandomTiling(shape, random)), &made.index);
    for (const Box& box : WithoutEmpty(shape, RandomTiling(shape, random))) {
      for (int copies = (*random)() % 3; copies > 0; --copies) {
        const int number = static_cast<int>(entries.size());
        entries.push_back({name, SliceSpec(shape, box), dtype, number, 1});
        const int task = (*random)() % kTasks;
        made.places.push_back({task, made.counts[task]++});
      }
    }
  }
  made.plan = BuildRestorePlan(made.index, entries).value();
  return made;
}

// A run of elements that goes to a target. Of the source: the tensor, its data file, the first byte
// of the piece there, the first element in the piece. Of the target: its number, the first element
// there. Last, the count.
using Move = std::tuple<std::string, int, int64_t, int64_t, int, int64_t, int64_t>;

// The moves of a plan to the targets that `number_of` gives a number.
template <typename NumberOf>
std::set<Move> Moves(const BundleIndex& index, const RestorePlan& plan, NumberOf&& number_of) {
  std::set<Move> moves;
  for (const Group& group : plan.groups) {
    for (const Piece& piece : group.pieces) {
      const BundleEntry& entry = index.entries[piece.entry];
      int64_t end = 0;
      for (const Delivery& delivery : piece.deliveries) {
        end = std::max(end, delivery.runs.end_output());
        EXPECT_EQ(delivery.end, end);
        const int number = number_of(group.targets[delivery.target].number);
        if (number < 0) continue;
        delivery.runs.Visit(0, entry.size_bytes, [&](const Run& run) {
          moves.insert({entry.ToString(), entry.shard_id, entry.offset, run.output, number,
                        run.source, run.count});
        });
      }
    }
  }
  return moves;
}

TEST(EachTaskGetsItsPartOfThePlan) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const Case made = RandomCase(&random);
    const std::vector<EncodedPart> parts = EncodeParts(made.index, made.plan, made.places, kTasks);
    for (int task = 0; task < kTasks; ++task) {
      const auto part = DecodePart(parts[task].numbers, parts[task].names, made.counts[task]);
      EXPECT_EQ(part.status(), absl::OkStatus());
      EXPECT_EQ(part->index.shard_count, made.index.shard_count);
      EXPECT_TRUE(Moves(part->index, part->plan, [](int number) { return number; }) ==
                  Moves(made.index, made.plan, [&](int number) {
                    return made.places[number].task == task ? made.places[number].number : -1;
                  }));
      std::set<int> numbers;
      for (const Group& group : part->plan.groups) {
        int64_t size_bytes = 0;
        for (const Piece& piece : group.pieces) {
          const BundleEntry& entry = part->index.entries[piece.entry];
          const BundleEntry& stored = made.index.entries[parts[task].entries[piece.entry]];
          EXPECT_EQ(entry.ToString(), stored.ToString());
          EXPECT_EQ(entry.size_bytes, stored.size_bytes);
          EXPECT_TRUE(entry.dtype == stored.dtype && entry.shape == stored.shape);
          size_bytes += entry.size_bytes;
        }
        EXPECT_EQ(group.size_bytes, size_bytes);
        for (const Target& target : group.targets) numbers.insert(target.number);
      }
      EXPECT_EQ(static_cast<int>(numbers.size()), made.counts[task]);
    }
  }
}

TEST(NumbersThatNobodyEncodedAreRefused) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const Case made = RandomCase(&random);
    const EncodedPart part = EncodeParts(made.index, made.plan, made.places, kTasks)[0];
    const int count = made.counts[0];
    std::vector<int64_t> numbers = part.numbers;
    EXPECT_TRUE(DecodePart(numbers, part.names, count).ok());
    std::vector<int64_t> cut = numbers;
    cut.pop_back();
    EXPECT_TRUE(!DecodePart(cut, part.names, count).ok());
    cut = numbers;
    cut.push_back(0);
    EXPECT_TRUE(!DecodePart(cut, part.names, count).ok());
    if (count > 0) EXPECT_TRUE(!DecodePart(numbers, part.names, count - 1).ok());
    for (const int64_t wrong : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{9}, INT64_MAX}) {
      std::vector<int64_t> changed = numbers;
      changed[random() % changed.size()] = wrong;
      DecodePart(changed, part.names, count).IgnoreError();
    }
  }
}

}  // namespace
}  // namespace autodist
