// What a save writes: pure data, in the order of the data file.
//
// Each PlannedTensor is one index entry that has bytes of its own: a whole
// logical variable, or one slice of it. Its shards tile it; each shard has at
// least one replica, and the aggregation says how replicas become one value.

#ifndef AUTODIST_SAVE_PLAN_SAVE_PLAN_H_
#define AUTODIST_SAVE_PLAN_SAVE_PLAN_H_

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/boxes/box.h"
#include "core/reduction/reduce.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/framework/tensor_slice.h"
#include "tensorflow/core/framework/types.h"

namespace autodist {

// Numbers of which there are one or two as a rule.
using FewNumbers = absl::InlinedVector<int, 2>;

struct PlannedShard {
  Box box;  // within the planned tensor
  // The replicas to read, in the order they were given; only the first where the aggregation
  // ignores others.
  FewNumbers sources;
};

// The place of a slice in its logical variable.
struct SliceOf {
  Dims full_shape;
  tensorflow::TensorSlice slice;  // as spelled: '-' stays a full extent
};

struct PlannedTensor {
  std::string name;  // of the logical variable
  tensorflow::DataType dtype = tensorflow::DT_INVALID;
  Dims shape;  // of the bytes written
  Aggregation aggregation = Aggregation::kMean;
  std::vector<PlannedShard> shards;
  std::shared_ptr<const SliceOf> slice_of;  // null: the whole variable

  // How messages call it, e.g. "variable 'emb'" or "variable 'emb', slice 0,4:-".
  std::string ToString() const;
};

struct SavePlan {
  std::vector<PlannedTensor> tensors;
  // What was given, for the report.
  int64_t variable_count = 0;
  int64_t shard_count = 0;
  int64_t replica_count = 0;  // over all shards
};

// One value of a save as the op is given it.
struct SaveEntry {
  std::string name;
  std::string shape_and_slice;  // as in SaveV2; "": the whole variable
  std::string aggregation;      // "MEAN", "SUM" or "ONLY_FIRST_REPLICA"
  int source;
  tensorflow::DataType dtype;
  tensorflow::TensorShape shape;
};

enum class SaveLayout {
  kOriginal,    // every name whole
  kSlices,      // every slice an entry of its own, as SaveV2 would
  kRestorable,  // whole unless stock RestoreV2 could not cut it into its boxes
};

absl::StatusOr<SaveLayout> ParseSaveLayout(absl::string_view name);

// Whether a variable of several boxes is written whole. With `own_files` the tasks that hold boxes
// each write a data file of their own. Then boxes stay slices where stock RestoreV2 can cut them
// anew, so that they need not be sent to one task.
bool IsWrittenWhole(tensorflow::DataType dtype, SaveLayout layout, bool own_files);

// The aggregation of a name such as "MEAN".
absl::StatusOr<Aggregation> ParseAggregation(absl::string_view name);

// Groups entries into logical variables, one entry after the other. Entries of one name are shards
// if their slices differ, and replicas if their slices are the same. Refuses slices that cannot be
// parsed or lie outside their shape, and values that do not fit their slice. Refuses entries of a
// name that disagree in shape, dtype or aggregation. Refuses shards that overlap or leave a hole,
// and replicas that cannot be aggregated. Under kSlices a hole is allowed: another task may save
// it. Errors name the variable, the boxes and the numbers.
class SavePlanBuilder {
 public:
  explicit SavePlanBuilder(SaveLayout layout);
  ~SavePlanBuilder();
  SavePlanBuilder(const SavePlanBuilder&) = delete;
  SavePlanBuilder& operator=(const SavePlanBuilder&) = delete;

  absl::Status Add(const SaveEntry& entry);

  // REQUIRES: Add() has failed for no entry. To be called once.
  absl::StatusOr<SavePlan> Finish();

 private:
  struct Variable;

  // Whose names are compared: variables by their numbers, and one that is looked for.
  struct Names {
    static constexpr int kWanted = -1;  // the number of `wanted`
    const std::vector<Variable>* variables;
    absl::string_view wanted;
    absl::string_view operator[](int number) const;
  };
  struct HashOfName {
    const Names* names;
    size_t operator()(int number) const;
  };
  struct HasSameName {
    const Names* names;
    bool operator()(int a, int b) const;
  };

  // The number of the variable of that name, or kWanted.
  int Find(absl::string_view name);

  const SaveLayout layout_;
  std::vector<Variable> variables_;  // in the order in which their names came
  Names names_;
  // Numbers, which stay right while the variables move. Not a set of absl: under sanitizers those
  // of TensorFlow's library differ.
  std::unordered_set<int, HashOfName, HasSameName> by_name_;
};

// The plan of all `entries`.
absl::StatusOr<SavePlan> BuildSavePlan(const std::vector<SaveEntry>& entries, SaveLayout layout);

// The sources of some shards of a tensor, shard by shard and replica by replica.
std::vector<int> SourcesOf(const PlannedTensor& planned, absl::Span<const int> shards);

}  // namespace autodist

#endif  // AUTODIST_SAVE_PLAN_SAVE_PLAN_H_
