// Reads and writes of a file that the caller has open.

#ifndef AUTODIST_TABLES_WRITING_OPEN_FILE_H_
#define AUTODIST_TABLES_WRITING_OPEN_FILE_H_

#include <cstdint>
#include <string>

#include "tables/outcome.h"

namespace autodist {

// The path is for messages. Calls are safe from several threads.
struct OpenFile {
  int descriptor;
  std::string path;

  // Fills `size` bytes from `offset` on. Damaged if the file ends before.
  Outcome Read(int64_t offset, int64_t size, char* bytes) const;

  // Writes all of them.
  Outcome Write(int64_t offset, int64_t size, const char* bytes) const;
};

}  // namespace autodist

#endif  // AUTODIST_TABLES_WRITING_OPEN_FILE_H_
