#include "save/plan/save_plan.h"

#include "core/testing/testing.h"

namespace autodist {
namespace {

using tensorflow::DT_FLOAT;
using tensorflow::DT_INT32;
using tensorflow::DT_STRING;

SaveEntry Entry(std::string slice, tensorflow::TensorShape shape,
                tensorflow::DataType dtype = DT_FLOAT, std::string aggregation = "MEAN") {
  return SaveEntry{"w", std::move(slice), std::move(aggregation), 0, dtype, std::move(shape)};
}

// What BuildSavePlan says of `entries`; "" when it accepts them. Their sources are numbered.
std::string Problem(std::vector<SaveEntry> entries, SaveLayout layout = SaveLayout::kOriginal) {
  for (size_t i = 0; i < entries.size(); ++i) entries[i].source = static_cast<int>(i);
  const absl::Status status = BuildSavePlan(entries, layout).status();
  if (!status.ok()) EXPECT_TRUE(absl::IsInvalidArgument(status));
  return std::string(status.message());
}

// Refused, with the variable and all of `parts` in the message.
void ExpectRefused(const std::string& problem, const std::vector<std::string>& parts) {
  EXPECT_TRUE(problem.find("variable 'w'") != std::string::npos);
  for (const std::string& part : parts) {
    if (problem.find(part) == std::string::npos) EXPECT_EQ(problem, part);
  }
}

TEST(SlicesThatCannotBeParsedAreRefused) {
  for (const char* slice : {"4", "x 0,2", "-4 0,2", "4 -1,2", "4 0,2:-", "4 2 0,2", " 0,2",
                            "4  0,2", "4 0,2,3", "4 ", "99999999999999999999 0,2"}) {
    ExpectRefused(Problem({Entry(slice, {2})}), {slice});
  }
  ExpectRefused(Problem({Entry("4611686018427387904 4 0,1:-", {1, 4})}), {"too many elements"});
}

TEST(SlicesOutsideTheFullShapeAreRefused) {
  ExpectRefused(Problem({Entry("4 3,2", {2})}), {"takes 2 from 3 along axis 0", "[4]"});
  ExpectRefused(Problem({Entry("4 5,1", {1})}), {"takes 1 from 5 along axis 0", "[4]"});
  ExpectRefused(Problem({Entry("4 9223372036854775807,1", {1})}), {"axis 0", "[4]"});
}

TEST(ValuesThatDoNotFitTheirSliceAreRefused) {
  ExpectRefused(Problem({Entry("4 0,2", {3})}), {"[0, 2)", "[2]", "[3]"});
  ExpectRefused(Problem({Entry("4 0,2", {2, 1})}), {"[2]", "[2, 1]"});
}

TEST(EntriesThatDisagreeAreRefused) {
  ExpectRefused(Problem({Entry("4 0,2", {2}), Entry("5 2,2", {2})}), {"[4]", "[5]"});
  ExpectRefused(Problem({Entry("4 0,2", {2}), Entry("4 2,2", {2}, DT_INT32)}),
                {"float", "int32", "[2, 4)"});
  ExpectRefused(Problem({Entry("4 0,2", {2}), Entry("4 2,2", {2}, DT_FLOAT, "SUM")}),
                {"MEAN", "SUM"});
}

TEST(OverlapsAndHolesAreRefused) {
  ExpectRefused(Problem({Entry("4 0,3", {3}), Entry("4 2,2", {2})}), {"[0, 3)", "[2, 4)"});
  ExpectRefused(Problem({Entry("4 0,1", {1}), Entry("4 2,2", {2})}), {"rows [1, 2) are missing"});
  // Another task may save the rest of slices.
  EXPECT_EQ(Problem({Entry("4 0,1", {1}), Entry("4 2,2", {2})}, SaveLayout::kSlices), "");
}

TEST(AggregationsWithoutMeaningAreRefused) {
  ExpectRefused(Problem({Entry("", {2}, DT_FLOAT, "MEDIAN")}), {"MEDIAN"});
  ExpectRefused(Problem({Entry("", {2}, DT_STRING, "SUM"), Entry("", {2}, DT_STRING, "SUM")}),
                {"SUM", "2 replicas", "string"});
  EXPECT_EQ(Problem({Entry("", {2}, DT_STRING, "SUM")}), "");
}

TEST(ValuesThatCannotBeSavedAreRefused) {
  ExpectRefused(Problem({Entry("", {2}, tensorflow::DT_RESOURCE)}), {"resource"});
}

TEST(NamesMustNotBeEmpty) {
  SaveEntry entry = Entry("", {2});
  entry.name = "";
  EXPECT_TRUE(absl::IsInvalidArgument(BuildSavePlan({entry}, SaveLayout::kOriginal).status()));
}

TEST(EntriesBecomeShardsAndReplicas) {
  std::vector<SaveEntry> entries = {Entry("4 0,2", {2}), Entry("4 2,2", {2}), Entry("4 0,2", {2})};
  for (int i = 0; i < 3; ++i) entries[i].source = i;
  const absl::StatusOr<SavePlan> plan = BuildSavePlan(entries, SaveLayout::kOriginal);
  EXPECT_TRUE(plan.ok());
  EXPECT_EQ(plan->variable_count, 1);
  EXPECT_EQ(plan->shard_count, 2);
  EXPECT_EQ(plan->replica_count, 3);
  EXPECT_EQ(plan->tensors.size(), 1u);
  EXPECT_TRUE((plan->tensors[0].shards[0].sources == FewNumbers{0, 2}));
  EXPECT_TRUE((plan->tensors[0].shards[1].sources == FewNumbers{1}));
}

TEST(RestorableLayoutsCutOnlyWhatStockCannotCut) {
  for (const auto dtype : {DT_FLOAT, tensorflow::DT_HALF}) {
    const auto plan = BuildSavePlan({Entry("4 0,2", {2}, dtype), Entry("4 2,2", {2}, dtype)},
                                    SaveLayout::kRestorable);
    EXPECT_EQ(plan->tensors.size(), dtype == DT_FLOAT ? 1u : 2u);
  }
}

TEST(SlicesThatStockCannotCutAnewAreWholeOnlyWhereThatWasAsked) {
  for (const bool own_files : {false, true}) {
    EXPECT_TRUE(IsWrittenWhole(tensorflow::DT_HALF, SaveLayout::kOriginal, own_files));
    EXPECT_TRUE(!IsWrittenWhole(tensorflow::DT_HALF, SaveLayout::kRestorable, own_files));
    EXPECT_TRUE(!IsWrittenWhole(DT_FLOAT, SaveLayout::kSlices, own_files));
    EXPECT_EQ(IsWrittenWhole(DT_FLOAT, SaveLayout::kOriginal, own_files), !own_files);
    EXPECT_EQ(IsWrittenWhole(DT_FLOAT, SaveLayout::kRestorable, own_files), !own_files);
  }
}

TEST(LayoutsHaveNames) {
  EXPECT_TRUE(*ParseSaveLayout("slices") == SaveLayout::kSlices);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseSaveLayout("whole").status()));
}

}  // namespace
}  // namespace autodist
