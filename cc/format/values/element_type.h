// TensorFlow's dtypes as the element types of the reduction in cc/core.

#ifndef AUTODIST_FORMAT_VALUES_ELEMENT_TYPE_H_
#define AUTODIST_FORMAT_VALUES_ELEMENT_TYPE_H_

#include "core/reduction/reduce.h"
#include "tensorflow/core/framework/types.h"

namespace autodist {

// How replicas of a dtype are reduced.
struct Arithmetic {
  ElementType type;
  const ByteFloatCodec* codec;  // for kByteFloat, else null; lives forever
};

// Dtypes without arithmetic here (bool, quantised, 4-bit and smaller, strings, variants) are
// kOpaque.
Arithmetic ArithmeticOf(tensorflow::DataType dtype);

// Whether replicas of this dtype have a mean other than the first of them.
bool HasMean(tensorflow::DataType dtype);

// Whether the value of several replicas of this dtype is that of the first.
bool TakesFirstReplica(Aggregation aggregation, tensorflow::DataType dtype);

// Bytes of one element in tensors and data files. 0 for strings and variants, whose elements vary
// in size, and for dtypes that cannot be saved.
int SavedElementBytes(tensorflow::DataType dtype);

// Whether stock RestoreV2 can cut a tensor of this dtype out of one that was
// saved whole or with other slices (TensorFlow 2.21, BundleReader::GetSliceValue).
bool IsRestorableInSlices(tensorflow::DataType dtype);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_VALUES_ELEMENT_TYPE_H_
