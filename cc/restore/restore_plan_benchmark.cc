// How long it takes to plan a restore, and how much memory, for very many shards.
//
//   restore_plan_benchmark [shards]
//
// Prints for each case the seconds and the peak of memory, of planning alone and with what stands
// for the index. Then it prints the same for a quarter of the shards, which shows how they grow.
// The plans are checked: every stored byte is read once and every shard is filled.

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/values/testing_tensors.h"
#include "restore/restore_plan.h"

namespace autodist {
namespace {

using testing::Grid;
using testing::SliceOfBox;
using testing::SliceSpec;

constexpr int64_t kFloatBytes = 4;

struct Case {
  const char* name;
  int64_t variables;
  // Of each variable.
  std::function<Dims(int64_t shards)> shape;
  std::function<std::vector<Box>(const Dims& shape, int64_t shards)> stored;
  std::function<std::vector<Box>(const Dims& shape, int64_t shards)> wanted;
};

int64_t Side(int64_t shards) { return std::llround(std::sqrt(static_cast<double>(shards))); }
std::vector<Box> Rows(const Dims& shape, int64_t shards) { return Grid(shape, shards, 1); }
std::vector<Box> Square(const Dims& shape, int64_t shards) {
  return Grid(shape, Side(shards), Side(shards));
}
std::vector<Box> Whole(const Dims& shape, int64_t) { return {Box::Whole(shape)}; }
Dims Long(int64_t shards) { return {4 * shards + 3, 8}; }
Dims Wide(int64_t shards) { return {4 * Side(shards) + 3, 4 * Side(shards) + 1}; }
// Borders that are not those of Rows().
std::vector<Box> OtherRows(const Dims& shape, int64_t shards) {
  std::vector<Box> boxes = Rows(shape, shards);
  for (size_t i = 1; i < boxes.size(); ++i) {
    boxes[i].start[0] += 1;
    boxes[i].extent[0] -= i + 1 == boxes.size() ? 1 : 0;
  }
  boxes[0].extent[0] += 1;
  return boxes;
}
std::vector<Box> Columns(const Dims& shape, int64_t shards) { return Grid(shape, 1, Side(shards)); }

const Case kCases[] = {
    {"rows -> the same rows", 1, Long, Rows, Rows},
    {"rows -> other rows", 1, Long, Rows, OtherRows},
    {"whole -> rows", 1, Long, Whole, Rows},
    {"rows -> whole", 1, Long, Rows, Whole},
    {"grid -> the same grid", 1, Wide, Square, Square},
    {"grid -> columns", 1, Wide, Square, Columns},
    {"whole -> grid", 1, Wide, Whole, Square},
    {"1000 variables, rows -> rows", 1000, Long, Rows, Rows},
    {"1000 variables, whole -> rows", 1000, Long, Whole, Rows},
};

// Of the processor, so that others on the machine do not count.
double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int64_t PeakBytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

void Store(const std::string& name, const Dims& shape, const std::vector<Box>& boxes,
           int64_t* offset, BundleIndex* index) {
  BundleEntry whole{};
  whole.name = name;
  whole.dtype = tensorflow::DT_FLOAT;
  whole.shape = shape;
  if (boxes.size() == 1) {
    whole.offset = *offset;
    whole.size_bytes = Box::Whole(shape).elements() * kFloatBytes;
    *offset += whole.size_bytes;
    index->entries.push_back(std::move(whole));
    return;
  }
  const int parent = static_cast<int>(index->entries.size());
  index->entries.push_back(whole);
  whole.slices.reserve(boxes.size());
  for (const Box& box : boxes) {
    BundleEntry slice{};
    slice.name = name;
    slice.dtype = whole.dtype;
    slice.shape = box.extent;
    slice.slice = SliceOfBox(shape, box);
    slice.offset = *offset;
    slice.size_bytes = box.elements() * kFloatBytes;
    *offset += slice.size_bytes;
    whole.slices.push_back(*slice.slice);
    whole.slice_entries.push_back(static_cast<int>(index->entries.size()));
    index->entries.push_back(std::move(slice));
  }
  index->entries[parent] = std::move(whole);
}

// Plans in a process of its own, so that peaks do not add up. Returns the seconds.
double Measure(const Case& c, int64_t shards, bool is_printed) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  const pid_t child = fork();
  if (child != 0) {
    close(ends[1]);
    double seconds = 0;
    if (read(ends[0], &seconds, sizeof(seconds)) != sizeof(seconds)) std::abort();
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    if (status != 0) std::abort();
    return seconds;
  }
  BundleIndex index{1, {}};
  std::vector<RestoreEntry> entries;
  int64_t offset = 0;
  for (int64_t v = 0; v < c.variables; ++v) {
    const int64_t each = shards / c.variables;
    const Dims shape = c.shape(each);
    const std::string name = absl::StrCat("layer_", v, "/kernel");
    Store(name, shape, c.stored(shape, each), &offset, &index);
    for (const Box& box : c.wanted(shape, each)) {
      entries.push_back(
          {name, SliceSpec(shape, box), tensorflow::DT_FLOAT, static_cast<int>(entries.size()), 1});
    }
  }
  const int64_t before = PeakBytes();
  const double start = CpuSeconds();
  const absl::StatusOr<RestorePlan> plan = BuildRestorePlan(index, entries);
  const double seconds = CpuSeconds() - start;
  const int64_t peak = PeakBytes();
  int64_t size_bytes = 0;
  size_t targets = 0;
  for (const Group& group : plan.value().groups) {
    size_bytes += group.size_bytes;
    targets += group.targets.size();
  }
  if (size_bytes != offset || targets != entries.size()) std::abort();
  if (is_printed) {
    std::printf("%-32s %8zu stored %8zu wanted  %6.2f s  %5ld MiB for the plan, %5ld MiB in all",
                c.name, index.entries.size(), entries.size(), seconds, (peak - before) >> 20,
                peak >> 20);
    std::fflush(stdout);
  }
  const bool is_sent = write(ends[1], &seconds, sizeof(seconds)) == sizeof(seconds);
  _exit(is_sent ? 0 : 1);
}

}  // namespace
}  // namespace autodist

int main(int argc, char** argv) {
  const int64_t shards = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  for (const autodist::Case& c : autodist::kCases) {
    const double quarter = autodist::Measure(c, shards / 4, /*is_printed=*/false);
    const double all = autodist::Measure(c, shards, /*is_printed=*/true);
    std::printf("  %4.1f times that of a quarter\n", all / quarter);
    std::fflush(stdout);
  }
  return 0;
}
