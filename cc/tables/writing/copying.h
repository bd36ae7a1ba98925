// Copies what tensors consist of from file to file, and sums it on the way.
//
// Two ways:
//
//   CopyParts   runs of bytes, as they are: a tensor whose boxes stay the same
//   GatherBox   a box of a tensor from the boxes that it is stored as
//
//   stored   |  a  a  |  b  |        wanted   | a a b |   one block of the wanted box at a time:
//            |  a  a  |  b  |                 | a a b |   for each stored box, the range of its
//                                                         bytes that the block needs is read once
//
// Both work in blocks, one for each thread, so memory is threads * 2 * block bytes.

#ifndef AUTODIST_TABLES_WRITING_COPYING_H_
#define AUTODIST_TABLES_WRITING_COPYING_H_

#include <cstdint>
#include <vector>

#include "core/boxes/box.h"
#include "tables/outcome.h"
#include "tables/writing/open_file.h"

namespace autodist {

struct CopyLimits {
  int threads = 1;
  int64_t block_bytes = 1 << 20;
};

struct CopyPart {
  int64_t source_offset;
  int64_t target_offset;
  int64_t size_bytes;
};

// Copies the parts; (*crcs)[i] becomes the CRC32C of the bytes of part i. A target of descriptor -1
// is not written: then the parts are only summed.
Outcome CopyParts(const OpenFile& source, const OpenFile& target,
                  const std::vector<CopyPart>& parts, const CopyLimits& limits,
                  std::vector<uint32_t>* crcs);

// A box of a tensor, dense in row-major order in a file.
struct StoredBox {
  OpenFile file;
  int64_t offset;  // of its first byte
  Box box;
};

// Writes the wanted box, dense in row-major order, to `target.offset`; *crc becomes the CRC32C of
// its bytes.
// REQUIRES: all boxes lie in one tensor. Unsupported if what the stored boxes share with the wanted
// one does not tile it.
Outcome GatherBox(const std::vector<StoredBox>& stored, const StoredBox& target,
                  int64_t element_bytes, const CopyLimits& limits, uint32_t* crc);

// Reads the elements [begin, end) of the wanted box, counted in row-major order, into `bytes`; with
// as much memory again.
Outcome ReadBox(const std::vector<StoredBox>& stored, const Box& wanted, int64_t element_bytes,
                int64_t begin, int64_t end, char* bytes);

}  // namespace autodist

#endif  // AUTODIST_TABLES_WRITING_COPYING_H_
