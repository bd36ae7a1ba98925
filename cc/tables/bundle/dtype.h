// TensorFlow's dtypes by number (types.proto of TensorFlow 2.21): names and sizes.

#ifndef AUTODIST_TABLES_BUNDLE_DTYPE_H_
#define AUTODIST_TABLES_BUNDLE_DTYPE_H_

#include <cstdint>

namespace autodist {

inline constexpr int32_t kStringDtype = 7;
inline constexpr int32_t kVariantDtype = 21;

struct DtypeInfo {
  const char* name;   // the one that tf.as_dtype takes; "unknown" for other numbers
  int element_bytes;  // in a data file; 0 where elements vary in size or cannot be saved
};

DtypeInfo InfoOfDtype(int32_t dtype);

}  // namespace autodist

#endif  // AUTODIST_TABLES_BUNDLE_DTYPE_H_
