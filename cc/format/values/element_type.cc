// TensorFlow's dtypes as the element types of the reduction in cc/core.

#include "format/values/element_type.h"

#include <array>
#include <cstring>

#include "versions/tensorflow_versions.h"

namespace autodist {
namespace {

template <typename Float8>
uint8_t EncodeFloat8(float value) {
  const Float8 rounded = static_cast<Float8>(value);
  uint8_t byte;
  std::memcpy(&byte, &rounded, 1);
  return byte;
}

template <typename Float8>
const ByteFloatCodec* Float8Codec() {
  static_assert(sizeof(Float8) == 1);
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table;
    for (int byte = 0; byte < 256; ++byte) {
      const uint8_t bits = static_cast<uint8_t>(byte);
      Float8 value;
      std::memcpy(static_cast<void*>(&value), &bits, 1);
      table[byte] = static_cast<float>(value);
    }
    return table;
  }();
  static const ByteFloatCodec codec{values.data(), &EncodeFloat8<Float8>};
  return &codec;
}

}  // namespace

Arithmetic ArithmeticOf(tensorflow::DataType dtype) {
  switch (dtype) {
    case tensorflow::DT_HALF:
      return {ElementType::kFloat16, nullptr};
    case tensorflow::DT_BFLOAT16:
      return {ElementType::kBFloat16, nullptr};
    case tensorflow::DT_FLOAT:
      return {ElementType::kFloat32, nullptr};
    case tensorflow::DT_DOUBLE:
      return {ElementType::kFloat64, nullptr};
    case tensorflow::DT_COMPLEX64:
      return {ElementType::kComplex64, nullptr};
    case tensorflow::DT_COMPLEX128:
      return {ElementType::kComplex128, nullptr};
    case tensorflow::DT_INT8:
      return {ElementType::kInt8, nullptr};
    case tensorflow::DT_INT16:
      return {ElementType::kInt16, nullptr};
    case tensorflow::DT_INT32:
      return {ElementType::kInt32, nullptr};
    case tensorflow::DT_INT64:
      return {ElementType::kInt64, nullptr};
    case tensorflow::DT_UINT8:
      return {ElementType::kUint8, nullptr};
    case tensorflow::DT_UINT16:
      return {ElementType::kUint16, nullptr};
    case tensorflow::DT_UINT32:
      return {ElementType::kUint32, nullptr};
    case tensorflow::DT_UINT64:
      return {ElementType::kUint64, nullptr};
    default:
      break;
  }
  const ByteFloatCodec* const codec =
      CallWithFloat8(dtype, [](auto value) { return Float8Codec<decltype(value)>(); });
  if (codec != nullptr) return {ElementType::kByteFloat, codec};
  return {ElementType::kOpaque, nullptr};
}

bool HasMean(tensorflow::DataType dtype) { return IsFloat(ArithmeticOf(dtype).type); }

bool TakesFirstReplica(Aggregation aggregation, tensorflow::DataType dtype) {
  if (aggregation == Aggregation::kOnlyFirstReplica) return true;
  return aggregation == Aggregation::kMean && !HasMean(dtype);
}

int SavedElementBytes(tensorflow::DataType dtype) {
  return tensorflow::DataTypeCanUseMemcpy(dtype) ? tensorflow::DataTypeSize(dtype) : 0;
}

bool IsRestorableInSlices(tensorflow::DataType dtype) {
  switch (dtype) {
    case tensorflow::DT_FLOAT:
    case tensorflow::DT_DOUBLE:
    case tensorflow::DT_INT8:
    case tensorflow::DT_INT16:
    case tensorflow::DT_INT32:
    case tensorflow::DT_INT64:
    case tensorflow::DT_UINT8:
    case tensorflow::DT_COMPLEX64:
    case tensorflow::DT_COMPLEX128:
    case tensorflow::DT_BOOL:
    case tensorflow::DT_BFLOAT16:
    case tensorflow::DT_INT4:
    case tensorflow::DT_UINT4:
    case tensorflow::DT_QINT8:
    case tensorflow::DT_QUINT8:
    case tensorflow::DT_QINT32:
      return true;
    default:
      return false;
  }
}

}  // namespace autodist
