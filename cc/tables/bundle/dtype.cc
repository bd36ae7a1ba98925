// TensorFlow's dtypes by number; see the header.

#include "tables/bundle/dtype.h"

namespace autodist {
namespace {

constexpr DtypeInfo kInfos[] = {
    {"unknown", 0},
    {"float32", 4},
    {"float64", 8},
    {"int32", 4},
    {"uint8", 1},
    {"int16", 2},
    {"int8", 1},
    {"string", 0},
    {"complex64", 8},
    {"int64", 8},
    {"bool", 1},
    {"qint8", 1},
    {"quint8", 1},
    {"qint32", 4},
    {"bfloat16", 2},
    {"qint16", 2},
    {"quint16", 2},
    {"uint16", 2},
    {"complex128", 16},
    {"float16", 2},
    {"resource", 0},
    {"variant", 0},
    {"uint32", 4},
    {"uint64", 8},
    {"float8_e5m2", 1},
    {"float8_e4m3fn", 1},
    {"float8_e4m3fnuz", 1},
    {"float8_e4m3b11fnuz", 1},
    {"float8_e5m2fnuz", 1},
    {"int4", 1},
    {"uint4", 1},
    {"int2", 1},
    {"uint2", 1},
    {"float4_e2m1fn", 1},
};
constexpr int32_t kInfoCount = sizeof(kInfos) / sizeof(kInfos[0]);

}  // namespace

DtypeInfo InfoOfDtype(int32_t dtype) {
  return dtype > 0 && dtype < kInfoCount ? kInfos[dtype] : kInfos[0];
}

}  // namespace autodist
