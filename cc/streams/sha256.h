// SHA-256 (FIPS 180-4), and HMAC with it (RFC 2104). For the few bytes of a handshake: not fast.

#ifndef AUTODIST_STREAMS_SHA256_H_
#define AUTODIST_STREAMS_SHA256_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace autodist {

constexpr size_t kSha256Bytes = 32;

std::string Sha256(absl::string_view message);

std::string HmacSha256(absl::string_view key, absl::string_view message);

}  // namespace autodist

#endif  // AUTODIST_STREAMS_SHA256_H_
