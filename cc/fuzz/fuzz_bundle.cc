// A checkpoint whose files a fuzzer writes, and everything that can be done with one.

#include "fuzz/fuzz_bundle.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <vector>

#include "core/testing/testing_boxes.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"
#include "restore/bundle_loader.h"
#include "restore/restore_plan.h"
#include "tables/table/testing_table.h"

namespace autodist::fuzz {
namespace {

using tensorflow::Tensor;

// New memory for every target.
class NewTargets : public RestoreTargets {
 public:
  explicit NewTargets(int64_t most_elements) : most_elements_(most_elements) {}
  bool IsLive(int, tensorflow::DataType, const tensorflow::TensorShape&) override { return false; }
  absl::StatusOr<Tensor> Allocate(int target, tensorflow::DataType dtype,
                                  const tensorflow::TensorShape& shape) override {
    Require(shape.num_elements() <= most_elements_, "a target larger than the files");
    return tensors[target] = Tensor(dtype, shape);
  }
  absl::StatusOr<std::unique_ptr<OpenTargets>> Open(
      absl::Span<const int>, tensorflow::DataType,
      absl::Span<const tensorflow::TensorShape>) override {
    return absl::InternalError("nothing is live");
  }
  void Discard(int) override {}
  void Withdraw(int) override {}

  std::map<int, Tensor> tensors;

 private:
  const int64_t most_elements_;
};

void WriteFile(const std::string& path, absl::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), bytes.size());
}

// What `stored` has in `box`, element by element. Every element must be stored once.
std::string ExpectedBytes(const BundleIndex& index, const BundleEntry& stored,
                          const std::string& data, const Box& box) {
  const int64_t size = SavedElementBytes(stored.dtype);
  std::map<int64_t, int64_t> place_of;  // of an element of the tensor, in the data file
  const auto add = [&](const BundleEntry& entry, const Box& part) {
    const std::vector<int64_t> elements = testing::FlatIndices(stored.shape, part);
    for (size_t i = 0; i < elements.size(); ++i) {
      const bool is_new = place_of.emplace(elements[i], entry.offset + i * size).second;
      Require(is_new, "an element that two slices hold");
    }
  };
  if (stored.slices.empty()) add(stored, Box::Whole(stored.shape));
  for (size_t i = 0; i < stored.slices.size(); ++i) {
    const auto part = BoxOf(stored.slices[i], stored.shape);
    Require(part.ok(), "a slice outside of its tensor");
    // Only what was wanted had to be right.
    if (Intersect(*part, box)) add(index.entries[stored.slice_entries[i]], *part);
  }
  std::string bytes;
  for (int64_t element : testing::FlatIndices(stored.shape, box)) {
    const auto found = place_of.find(element);
    Require(found != place_of.end(), "an element that is not stored");
    bytes += data.substr(found->second, size);
  }
  return bytes;
}

void CheckValue(const BundleIndex& index, const BundleEntry& stored, const std::string& data,
                const Box& box, const Tensor& value) {
  if (stored.dtype == tensorflow::DT_STRING || box.elements() == 0) return;
  Require(value.tensor_data() == ExpectedBytes(index, stored, data, box),
          "a value that the files do not hold");
}

}  // namespace

void Require(bool holds, const char* text) {
  if (holds) return;
  std::fprintf(stderr, "found: %s\n", text);
  std::abort();
}

void FuzzBundle::WriteIndex(absl::string_view bytes) const { WriteFile(prefix_ + ".index", bytes); }

void FuzzBundle::WriteData(absl::string_view bytes) {
  data_ = std::string(bytes);
  WriteFile(prefix_ + ".data-00000-of-00001", bytes);
}

void FuzzBundle::WriteIndexOf(const std::string& entries) const {
  testing::TableBytes table;
  const std::string block = table.AddBlock(entries);
  WriteIndex(table.Finish(table.AddBlock(testing::TableEntry(0, "z", block))));
}

void FuzzBundle::LoadEverything(const std::string& shape_and_slice) const {
  const absl::Status verified = VerifyBundle(prefix_);
  const absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix_);
  Require(index.ok() || !verified.ok(), "an index that is verified and cannot be read");
  if (!index.ok()) return;
  for (const BundleEntry& entry : index->entries) {
    if (entry.slice.has_value()) continue;
    for (const std::string& part : {std::string(), shape_and_slice}) {
      const auto plan = BuildRestorePlan(*index, {{entry.name, part, entry.dtype, 0, 1}});
      if (!plan.ok()) continue;
      NewTargets targets(static_cast<int64_t>(data_.size()));
      const auto loaded = LoadBundle(prefix_, *index, *plan, &targets, LoadOptions{1});
      if (!loaded.ok()) continue;
      const auto place =
          part.empty() ? Place{{}, Box::Whole(entry.shape), {}} : *ParseShapeAndSlice(part);
      Require(targets.tensors.size() == 1, "a restore that made no tensor");
      CheckValue(*index, entry, data_, place.box, targets.tensors.begin()->second);
    }
  }
}

}  // namespace autodist::fuzz
