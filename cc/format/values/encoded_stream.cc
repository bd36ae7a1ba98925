// The bytes of tensors whose elements vary in size, produced a block at a time. The header has the
// formats.

#include "format/values/encoded_stream.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "format/values/length_crc.h"
#include "tables/bytes/masked_crc.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/framework/variant.h"
#include "tensorflow/core/framework/variant_tensor_data.h"
#include "tensorflow/core/platform/coding.h"

namespace autodist {
namespace {

class StringStream : public EncodedStream {
 public:
  explicit StringStream(std::vector<absl::Span<const tensorflow::tstring>> pieces)
      : pieces_(std::move(pieces)) {
    absl::crc32c_t lengths_crc{0};
    for (const auto& piece : pieces_) {
      for (const tensorflow::tstring& element : piece) {
        size_bytes_ += tensorflow::core::VarintLength(element.size()) + element.size();
        lengths_crc = ExtendByLength(lengths_crc, element.size());
      }
    }
    size_bytes_ += sizeof(uint32_t);
    lengths_checksum_ = MaskCrc(static_cast<uint32_t>(lengths_crc));
    crc_ = absl::ExtendCrc32c(lengths_crc, BytesOf(lengths_checksum_));
  }

  int64_t size_bytes() const override { return size_bytes_; }

  size_t Next(char* out, size_t capacity) override {
    size_t filled = 0;
    while (filled < capacity && (!pending_.empty() || Advance())) {
      const size_t count = std::min(capacity - filled, pending_.size());
      std::memcpy(out + filled, pending_.data(), count);
      if (phase_ == Phase::kStrings) crc_ = absl::ExtendCrc32c(crc_, pending_.substr(0, count));
      pending_.remove_prefix(count);
      filled += count;
    }
    return filled;
  }

  uint32_t crc32c() const override { return static_cast<uint32_t>(crc_); }

 private:
  enum class Phase { kLengths, kChecksum, kStrings };

  // Puts the next part of the encoding, maybe an empty one, into pending_; false at the end.
  bool Advance() {
    const tensorflow::tstring* element = NextElement();
    switch (phase_) {
      case Phase::kLengths:
        if (element != nullptr) {
          varint_.clear();
          tensorflow::core::PutVarint64(&varint_, element->size());
          pending_ = varint_;
        } else {
          phase_ = Phase::kChecksum;
          pending_ = BytesOf(lengths_checksum_);
        }
        return true;
      case Phase::kChecksum:
        phase_ = Phase::kStrings;
        piece_ = 0;
        element_ = 0;
        return true;
      case Phase::kStrings:
        if (element == nullptr) return false;
        pending_ = absl::string_view(element->data(), element->size());
        return true;
    }
    return false;
  }

  // Steps to the next element of the current pass over the strings; null at its end.
  const tensorflow::tstring* NextElement() {
    while (piece_ < pieces_.size() && element_ == pieces_[piece_].size()) {
      ++piece_;
      element_ = 0;
    }
    return piece_ < pieces_.size() ? &pieces_[piece_][element_++] : nullptr;
  }

  const std::vector<absl::Span<const tensorflow::tstring>> pieces_;
  int64_t size_bytes_ = 0;
  uint32_t lengths_checksum_;
  absl::crc32c_t crc_;
  Phase phase_ = Phase::kLengths;
  size_t piece_ = 0;
  size_t element_ = 0;
  std::string varint_;
  absl::string_view pending_;
};

// Bytes that are in memory already.
class MemoryStream : public EncodedStream {
 public:
  MemoryStream(std::string bytes, uint32_t crc) : bytes_(std::move(bytes)), crc_(crc) {}

  int64_t size_bytes() const override { return bytes_.size(); }

  size_t Next(char* out, size_t capacity) override {
    const size_t count = std::min(capacity, bytes_.size() - position_);
    std::memcpy(out, bytes_.data() + position_, count);
    position_ += count;
    return count;
  }

  uint32_t crc32c() const override { return crc_; }

 private:
  const std::string bytes_;
  const uint32_t crc_;
  size_t position_ = 0;
};

}  // namespace

std::unique_ptr<EncodedStream> EncodeStrings(
    std::vector<absl::Span<const tensorflow::tstring>> pieces) {
  return std::make_unique<StringStream>(std::move(pieces));
}

absl::StatusOr<std::unique_ptr<EncodedStream>> EncodeVariants(
    const std::vector<absl::Span<const tensorflow::Variant>>& pieces) {
  std::string bytes;
  absl::crc32c_t crc{0};
  for (const auto& piece : pieces) {
    for (const tensorflow::Variant& element : piece) {
      tensorflow::VariantTensorData data;
      element.Encode(&data);
      tensorflow::VariantTensorDataProto proto;
      data.ToProto(&proto);
      std::string encoded;
      if (!proto.SerializeToString(&encoded)) {
        return absl::UnknownError(
            absl::StrCat("cannot serialize the variant ", element.DebugString()));
      }
      const uint64_t length = encoded.size();
      tensorflow::core::PutVarint64(&bytes, length);
      crc = absl::ExtendCrc32c(absl::ExtendCrc32c(crc, BytesOf(length)), encoded);
      bytes.append(encoded);
      const uint32_t checksum = MaskCrc(static_cast<uint32_t>(crc));
      crc = absl::ExtendCrc32c(crc, BytesOf(checksum));
      bytes.append(BytesOf(checksum));
    }
  }
  return std::make_unique<MemoryStream>(std::move(bytes), static_cast<uint32_t>(crc));
}

}  // namespace autodist
