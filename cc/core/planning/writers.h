// Which device writes which bytes of a data file that several devices write.
//
// The file holds the tensors one after another, each whole and in row-major order. Each device that
// holds some of a slab (slabs.h) may write any part of it. It must be sent the bytes of that part
// that it does not hold.
//
//   tensor            held by           slabs                   written by
//   a, 8 rows         rows on 0, 1      {0..4: 0} {4..8: 1}     0: [0, 4)  1: [4, 8)
//   b, 8 rows         all on 0, on 1    {0..8: 0 or 1}          0: [0, 4)  1: [4, 8)
//   c, 8 rows         columns on 0, 1   {0..8: 0 or 1}          0: [0, 4)  1: [4, 8)
//
// Slabs that the same devices may write are divided together (balance.h). In the order of the file,
// one device after another gets them. So few slabs are cut, and small ones only where nothing else
// balances.
//
// Pure: the same plan from the same tensors, on every machine.

#ifndef AUTODIST_CORE_PLANNING_WRITERS_H_
#define AUTODIST_CORE_PLANNING_WRITERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

struct HeldTensor {
  std::string name;  // for messages
  Dims shape;
  int64_t element_bytes;
  std::vector<Box> shards;  // distinct, unless they have no elements
  // The devices that hold each shard: holders[first_holder[i]] to holders[first_holder[i + 1]].
  std::vector<size_t> first_holder;  // one more than there are shards
  std::vector<int> holders;
};

// A range of the file that one device writes.
struct WriteUnit {
  int tensor;
  int writer;
  int64_t begin;  // byte of the file; half-open
  int64_t end;
  // The shards that have elements in it: WritePlan::shards [first_shard, last_shard), ascending by
  // their first element. Units may share them.
  size_t first_shard;
  size_t last_shard;
};

struct WritePlan {
  std::vector<int64_t> offsets;  // of each tensor in the file, and where the last one ends
  std::vector<WriteUnit> units;  // ascending; together they cover the file
  std::vector<int> shards;
  std::vector<int64_t> writer_bytes;  // by device
};

// Returns the problem, or nullopt. Problems are shards that do not tile their tensor, a shard that
// no device holds, a device outside [0, device_count), and too many bytes. The busiest device
// writes at most 1.06 times the least that is possible. This holds if an element is small beside
// that and the devices form no long chain.
std::optional<std::string> PlanWriters(const std::vector<HeldTensor>& tensors, int device_count,
                                       WritePlan* plan);

}  // namespace autodist

#endif  // AUTODIST_CORE_PLANNING_WRITERS_H_
