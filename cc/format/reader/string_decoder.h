// Reads strings as a checkpoint holds them. encoded_stream.h has the format.

#ifndef AUTODIST_FORMAT_READER_STRING_DECODER_H_
#define AUTODIST_FORMAT_READER_STRING_DECODER_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "format/reader/entry_bytes.h"
#include "tensorflow/core/platform/tstring.h"

namespace autodist {

// Reads all of an entry's strings into `strings`. DataLoss, with a text that does not say where, if
// they do not parse or are not those of `crc32c`, the entry's unmasked CRC.
absl::Status DecodeStrings(EntryBytes* bytes, uint32_t crc32c,
                           absl::Span<tensorflow::tstring> strings);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_READER_STRING_DECODER_H_
