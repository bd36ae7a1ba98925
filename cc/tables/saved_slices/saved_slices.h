// Reads checkpoints of the V1 format (saved_tensor_slice.proto of TensorFlow 2.21). A checkpoint is
// one file, or `prefix-00000-of-00002` and so on, each a table by itself:
//
//   key ""      SavedTensorSlices with `meta`: name, shape, dtype and slices of each tensor
//   other keys  SavedTensorSlices with `data`, a slice (slice.h has the key): a TensorProto with a
//               value an element in the field of its dtype
//
// A tensor that is stored whole has one slice, all of every axis. There is no CRC of a tensor; the
// table has one for each block.

#ifndef AUTODIST_TABLES_SAVED_SLICES_SAVED_SLICES_H_
#define AUTODIST_TABLES_SAVED_SLICES_SAVED_SLICES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tables/bundle/slice.h"
#include "tables/outcome.h"
#include "tables/table/byte_source.h"

namespace autodist {

struct SavedTensor {
  std::string name;
  int32_t dtype = 0;
  Dims shape;                 // of the whole tensor
  std::vector<Slice> slices;  // those in this file
};

// What one file holds. Damaged, with a text that names no file, if it is no such file. Reads the
// table's first block only.
Outcome ReadSavedTensors(const ByteSource& source, std::vector<SavedTensor>* tensors);

// The elements of a slice in row-major order.
struct SavedValue {
  std::string bytes;                 // of the elements, as they lie in memory
  std::vector<std::string> strings;  // the elements, of a tensor of strings
};

// Reads the value of one slice. Damaged if it is not there, or has not as many elements as the
// slice. It takes at most eight bytes for each that the file has.
Outcome ReadSavedSlice(const ByteSource& source, const SavedTensor& tensor, const Slice& slice,
                       SavedValue* value);

// Reads all of the file, with the CRC of each block, and adds what is wrong to `problems`: slices
// that are missing, do not fit, or that no tensor lists.
Outcome CheckSavedSlices(const ByteSource& source, std::vector<std::string>* problems);

}  // namespace autodist

#endif  // AUTODIST_TABLES_SAVED_SLICES_SAVED_SLICES_H_
