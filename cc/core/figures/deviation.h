// How far the replicas of a shard are from each other.

#ifndef AUTODIST_CORE_FIGURES_DEVIATION_H_
#define AUTODIST_CORE_FIGURES_DEVIATION_H_

#include <cstdint>

#include "core/reduction/reduce.h"

namespace autodist {

// The largest difference between two replicas of one element; of complex elements, of a component.
// 0 where all have the same bits. Infinite where they differ and one is a NaN or infinite.
// Thread-safe. Replicas that are the same cost one comparison of their bytes.
//
// REQUIRES: IsFloat(type); pointers need no alignment; `codec` is given for kByteFloat.
double LargestDeviation(ElementType type, const void* const* sources, int source_count,
                        int64_t count, const ByteFloatCodec* codec);

}  // namespace autodist

#endif  // AUTODIST_CORE_FIGURES_DEVIATION_H_
