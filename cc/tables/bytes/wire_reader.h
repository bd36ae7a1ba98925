// Reads protocol buffers field by field, without their library: each field is a varint tag, whose
// low three bits are the wire type, and a value.
//
//   WireReader reader(bytes);
//   while (reader.Next()) {
//     if (reader.Is(1, WireType::kVarint)) dtype = reader.number();
//   }
//   if (reader.is_malformed()) ...
//
// A field with an unexpected number or wire type is skipped, as the library does. Groups, which no
// message of a checkpoint has, are malformed here.

#ifndef AUTODIST_TABLES_BYTES_WIRE_READER_H_
#define AUTODIST_TABLES_BYTES_WIRE_READER_H_

#include <cstdint>
#include <string_view>

#include "tables/bytes/little_endian.h"
#include "tables/bytes/varint.h"

namespace autodist {

enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  // Goes to the next field; false at the end, and where the bytes are no field.
  bool Next() {
    if (rest_.empty() || is_malformed_) return false;
    uint64_t tag;
    is_malformed_ = !TakeVarint(&rest_, &tag) || tag > UINT32_MAX || (tag >> 3) == 0 ||
                    !TakeValue(static_cast<WireType>(tag & 7));
    field_ = static_cast<int>(tag >> 3);
    return !is_malformed_;
  }

  bool Is(int field, WireType type) const { return field_ == field && type_ == type; }
  int field() const { return field_; }
  WireType type() const { return type_; }

  // The value of a field that is not of bytes.
  uint64_t number() const { return number_; }
  // The value of a field of bytes; as long-lived as what is read.
  std::string_view bytes() const { return bytes_; }

  bool is_malformed() const { return is_malformed_; }

 private:
  bool TakeValue(WireType type) {
    type_ = type;
    switch (type) {
      case WireType::kVarint:
        return TakeVarint(&rest_, &number_);
      case WireType::kFixed64:
        if (rest_.size() < 8) return false;
        number_ = LittleEndian<uint64_t>(rest_.data());
        rest_.remove_prefix(8);
        return true;
      case WireType::kFixed32:
        if (rest_.size() < 4) return false;
        number_ = LittleEndian<uint32_t>(rest_.data());
        rest_.remove_prefix(4);
        return true;
      case WireType::kBytes:
        if (!TakeVarint(&rest_, &number_) || number_ > rest_.size()) return false;
        bytes_ = rest_.substr(0, number_);
        rest_.remove_prefix(number_);
        return true;
    }
    return false;
  }

  std::string_view rest_;
  int field_ = 0;
  WireType type_ = WireType::kVarint;
  uint64_t number_ = 0;
  std::string_view bytes_;
  bool is_malformed_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_TABLES_BYTES_WIRE_READER_H_
