// SHA-256 (FIPS 180-4), and HMAC with it (RFC 2104).

#include "streams/sha256.h"

#include <array>
#include <cstdint>

namespace autodist {
namespace {

constexpr size_t kChunkBytes = 64;

constexpr std::array<uint32_t, 64> kRoundConstants = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::array<uint32_t, 8> kInitialState = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

uint32_t RotateRight(uint32_t word, int bits) { return (word >> bits) | (word << (32 - bits)); }

uint32_t BigEndianAt(absl::string_view bytes, size_t at) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; ++i) word = (word << 8) | static_cast<uint8_t>(bytes[at + i]);
  return word;
}

void AppendBigEndian(uint64_t number, int bytes, std::string* text) {
  for (int i = bytes; i-- > 0;) text->push_back(static_cast<char>((number >> (8 * i)) & 0xFF));
}

void AddChunk(absl::string_view chunk, std::array<uint32_t, 8>* state) {
  std::array<uint32_t, 64> schedule;
  for (size_t i = 0; i < 16; ++i) schedule[i] = BigEndianAt(chunk, 4 * i);
  for (size_t i = 16; i < schedule.size(); ++i) {
    const uint32_t a = schedule[i - 15], b = schedule[i - 2];
    const uint32_t first = RotateRight(a, 7) ^ RotateRight(a, 18) ^ (a >> 3);
    const uint32_t second = RotateRight(b, 17) ^ RotateRight(b, 19) ^ (b >> 10);
    schedule[i] = schedule[i - 16] + first + schedule[i - 7] + second;
  }
  auto [a, b, c, d, e, f, g, h] = *state;
  for (size_t i = 0; i < schedule.size(); ++i) {
    const uint32_t of_e = RotateRight(e, 6) ^ RotateRight(e, 11) ^ RotateRight(e, 25);
    const uint32_t chosen = (e & f) ^ (~e & g);
    const uint32_t first = h + of_e + chosen + kRoundConstants[i] + schedule[i];
    const uint32_t of_a = RotateRight(a, 2) ^ RotateRight(a, 13) ^ RotateRight(a, 22);
    const uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + of_a + majority;
  }
  const std::array<uint32_t, 8> added = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < added.size(); ++i) (*state)[i] += added[i];
}

}  // namespace

std::string Sha256(absl::string_view message) {
  std::string padded(message);
  padded.push_back('\x80');
  while (padded.size() % kChunkBytes != kChunkBytes - 8) padded.push_back('\0');
  AppendBigEndian(uint64_t{8} * message.size(), 8, &padded);
  std::array<uint32_t, 8> state = kInitialState;
  for (size_t at = 0; at < padded.size(); at += kChunkBytes) {
    AddChunk(absl::string_view(padded).substr(at, kChunkBytes), &state);
  }
  std::string digest;
  for (const uint32_t word : state) AppendBigEndian(word, 4, &digest);
  return digest;
}

std::string HmacSha256(absl::string_view key, absl::string_view message) {
  std::string block = key.size() > kChunkBytes ? Sha256(key) : std::string(key);
  block.resize(kChunkBytes, '\0');
  std::string inner = block, outer = block;
  for (size_t i = 0; i < kChunkBytes; ++i) {
    inner[i] = static_cast<char>(inner[i] ^ 0x36);
    outer[i] = static_cast<char>(outer[i] ^ 0x5c);
  }
  inner.append(message.data(), message.size());
  return Sha256(outer + Sha256(inner));
}

}  // namespace autodist
