// How the replicas of a shard become one value: block kernels.
//
// kMean     Floating point: the sum, divided by the number of replicas, computed wider than stored
//           and rounded once. Where all replicas of an element have the same bits, the result has
//           them too, whatever they are: NaN payloads, signalling or not, infinities, -0.0,
//           denormals. So the mean of equal replicas has their bits, and averaging has no effect on
//           a training that keeps them equal. Integers and kOpaque have no mean: the first replica.
// kSum      Floating point: computed wider, rounded once. Where all replicas but the first are 0.0,
//           the result has the first's bits, whatever they are. So a value that was restored into
//           the first replica, beside zeros, comes back as it was. Integers wrap. kOpaque cannot be
//           summed.
// kOnlyFirstReplica   A copy of the first replica.
//
//   stored                  computed in
//   kFloat16, kBFloat16, kByteFloat   float
//   kFloat32, kComplex64    double
//   kFloat64, kComplex128   long double
//
// A NaN that comes out of replicas that differ is the format's canonical quiet one.
//
// Replicas are added in their order, element by element. So the result does not depend on the
// machine's vector instructions, the thread's floating-point environment, or the cut into blocks.

#ifndef AUTODIST_CORE_REDUCTION_REDUCE_H_
#define AUTODIST_CORE_REDUCTION_REDUCE_H_

#include <cstdint>

namespace autodist {

enum class Aggregation { kMean, kSum, kOnlyFirstReplica };

enum class ElementType {
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
  kComplex64,
  kComplex128,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kByteFloat,  // a floating-point format of one byte, described by a ByteFloatCodec
  kOpaque,     // bytes without arithmetic (bool, quantised and packed types), counted one by one
};

// What a floating-point format of one byte means.
struct ByteFloatCodec {
  const float* decode;       // the values of the 256 bytes
  uint8_t (*encode)(float);  // rounds to the nearest
};

// Bytes of one element; 1 for kOpaque.
int ElementBytes(ElementType type);

// Whether elements are floating-point numbers, real or complex: those that have a mean.
bool IsFloat(ElementType type);

// Whether Reduce is defined: all but kSum of kOpaque.
bool CanReduce(Aggregation aggregation, ElementType type);

// Reduces `count` elements of `source_count` replicas into `destination`. Thread-safe.
//
// REQUIRES: CanReduce(aggregation, type); source_count >= 1; pointers need no alignment;
// `destination` overlaps no source, or is exactly sources[0]; `codec` is given for kByteFloat.
void Reduce(Aggregation aggregation, ElementType type, const void* const* sources, int source_count,
            int64_t count, void* destination, const ByteFloatCodec* codec = nullptr);

// Vector instructions that Reduce may use. For tests, which compare the results of all of them.
enum class VectorLevel { kPortable, kAvx2, kAvx512 };

// The best level of this machine.
VectorLevel BestVectorLevel();

// Reduce with the instructions of `level`. REQUIRES: level <= BestVectorLevel().
void ReduceAtLevel(VectorLevel level, Aggregation aggregation, ElementType type,
                   const void* const* sources, int source_count, int64_t count, void* destination,
                   const ByteFloatCodec* codec = nullptr);

}  // namespace autodist

#endif  // AUTODIST_CORE_REDUCTION_REDUCE_H_
