#include "core/reduction/reduce.h"

#include <array>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/testing/testing.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace autodist {
namespace {

constexpr VectorLevel kLevels[] = {VectorLevel::kPortable, VectorLevel::kAvx2,
                                   VectorLevel::kAvx512};
constexpr ElementType kTypes[] = {
    ElementType::kFloat16, ElementType::kBFloat16,  ElementType::kFloat32,
    ElementType::kFloat64, ElementType::kComplex64, ElementType::kComplex128,
    ElementType::kInt8,    ElementType::kInt16,     ElementType::kInt32,
    ElementType::kInt64,   ElementType::kUint8,     ElementType::kUint16,
    ElementType::kUint32,  ElementType::kUint64,    ElementType::kByteFloat,
    ElementType::kOpaque};

// A byte format with the values -8, -7.9375 ... 7.875, whose last byte is NaN.
const ByteFloatCodec& TestCodec() {
  static float decode[256];
  static const ByteFloatCodec codec = [] {
    for (int i = 0; i < 255; ++i) decode[i] = static_cast<float>(i - 128) / 16;
    decode[255] = std::numeric_limits<float>::quiet_NaN();
    return ByteFloatCodec{decode, [](float value) -> uint8_t {
                            if (std::isnan(value)) return 255;
                            const float scaled = std::nearbyint(value * 16) + 128;
                            return static_cast<uint8_t>(std::fmin(254, std::fmax(0, scaled)));
                          }};
  }();
  return codec;
}

using Bytes = std::vector<uint8_t>;

Bytes ReduceBytes(VectorLevel level, Aggregation aggregation, ElementType type,
                  const std::vector<Bytes>& replicas) {
  std::vector<const void*> sources;
  for (const Bytes& replica : replicas) sources.push_back(replica.data());
  Bytes result(replicas[0].size());
  ReduceAtLevel(level, aggregation, type, sources.data(), static_cast<int>(sources.size()),
                static_cast<int64_t>(result.size()) / ElementBytes(type), result.data(),
                &TestCodec());
  return result;
}

template <typename T>
std::vector<T> ReduceValues(Aggregation aggregation, ElementType type,
                            const std::vector<std::vector<T>>& replicas) {
  std::vector<const void*> sources;
  for (const auto& replica : replicas) sources.push_back(replica.data());
  std::vector<T> result(replicas[0].size());
  Reduce(aggregation, type, sources.data(), static_cast<int>(sources.size()),
         static_cast<int64_t>(result.size()), result.data());
  return result;
}

template <typename T>
uint64_t BitsOf(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  return bits;
}

// Random bits, many of them with an exponent of all ones or all zeros.
Bytes RandomBytes(int64_t count, std::mt19937* random) {
  Bytes bytes(count);
  for (uint8_t& byte : bytes) {
    const uint32_t draw = (*random)();
    byte = draw % 8 == 0 ? 0xff : draw % 8 == 1 ? 0 : draw % 8 == 2 ? 0x7f : draw >> 8;
  }
  return bytes;
}

// A half's value, by the definition of the format.
double HalfValue(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  double value =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 31) {
    value = fraction == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

// The nearest half, ties to even, by trying neighbours.
uint16_t NearestHalf(double value) {
  if (std::isnan(value)) return 0x7e00;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  uint16_t low = 0;
  uint16_t high = 0x7bff;
  while (low < high) {
    const uint16_t middle = static_cast<uint16_t>((low + high + 1) / 2);
    if (HalfValue(middle) <= magnitude) {
      low = middle;
    } else {
      high = static_cast<uint16_t>(middle - 1);
    }
  }
  if (low == 0x7bff) return sign | low;
  const double below = magnitude - HalfValue(low);
  const double above = HalfValue(static_cast<uint16_t>(low + 1)) - magnitude;
  const bool rounds_up = above < below || (above == below && (low & 1) != 0);
  return static_cast<uint16_t>(sign | (low + (rounds_up ? 1 : 0)));
}

TEST(MeanOfEqualReplicasKeepsEveryBit) {
  std::mt19937 random(5);
  for (ElementType type : kTypes) {
    for (int replicas = 1; replicas <= 5; ++replicas) {
      for (VectorLevel level : kLevels) {
        if (level > BestVectorLevel()) continue;
        const Bytes bytes = RandomBytes(16 * 601, &random);
        EXPECT_TRUE(ReduceBytes(level, Aggregation::kMean, type,
                                std::vector<Bytes>(replicas, bytes)) == bytes);
      }
    }
  }
}

TEST(SumOfZerosBehindTheFirstReplicaKeepsEveryBit) {
  std::mt19937 random(11);
  for (ElementType type : kTypes) {
    if (!CanReduce(Aggregation::kSum, type)) continue;
    for (int replicas = 1; replicas <= 5; ++replicas) {
      for (VectorLevel level : kLevels) {
        if (level > BestVectorLevel()) continue;
        const Bytes bytes = RandomBytes(16 * 601, &random);
        const uint8_t zero = type == ElementType::kByteFloat ? TestCodec().encode(0) : 0;
        std::vector<Bytes> all(replicas, Bytes(bytes.size(), zero));
        all[0] = bytes;
        EXPECT_TRUE(ReduceBytes(level, Aggregation::kSum, type, all) == bytes);
      }
    }
  }
}

TEST(SumKeepsMinusZeroBesideZero) {
  std::vector<uint32_t> first(100, BitsOf(-0.0f));
  std::vector<uint32_t> second(100, 0);
  second[50] = BitsOf(1.0f);
  const auto sum =
      ReduceValues<uint32_t>(Aggregation::kSum, ElementType::kFloat32, {first, second});
  EXPECT_EQ(sum[49], BitsOf(-0.0f));
  EXPECT_EQ(sum[50], BitsOf(1.0f));
}

TEST(MeanKeepsEqualElementsAmongDifferentOnes) {
  std::vector<uint32_t> first(100, 0x7f800001);  // a signalling NaN with a payload
  std::vector<uint32_t> second = first;
  first[50] = BitsOf(1.0f);
  second[50] = BitsOf(2.0f);
  const auto mean =
      ReduceValues<uint32_t>(Aggregation::kMean, ElementType::kFloat32, {first, second});
  EXPECT_EQ(mean[49], 0x7f800001u);
  EXPECT_EQ(mean[50], BitsOf(1.5f));
  EXPECT_EQ(mean[51], 0x7f800001u);
}

TEST(AllVectorLevelsGiveTheSameBits) {
  std::mt19937 random(6);
  for (ElementType type : kTypes) {
    for (Aggregation aggregation : {Aggregation::kMean, Aggregation::kSum}) {
      if (!CanReduce(aggregation, type)) continue;
      for (int elements : {0, 1, 7, 8, 15, 16, 17, 513, 1000}) {
        std::vector<Bytes> replicas;
        const int count = 2 + static_cast<int>(random() % 4);
        for (int i = 0; i < count; ++i) {
          replicas.push_back(RandomBytes(int64_t{elements} * ElementBytes(type), &random));
        }
        const Bytes portable = ReduceBytes(VectorLevel::kPortable, aggregation, type, replicas);
        for (VectorLevel level : kLevels) {
          if (level > BestVectorLevel()) continue;
          EXPECT_TRUE(ReduceBytes(level, aggregation, type, replicas) == portable);
        }
      }
    }
  }
}

TEST(ResultDoesNotDependOnTheBlocks) {
  std::mt19937 random(7);
  const std::vector<Bytes> replicas = {RandomBytes(4 * 1000, &random),
                                       RandomBytes(4 * 1000, &random),
                                       RandomBytes(4 * 1000, &random)};
  const Bytes whole =
      ReduceBytes(BestVectorLevel(), Aggregation::kMean, ElementType::kFloat32, replicas);
  Bytes pieces(whole.size());
  for (int64_t first = 0; first < 1000;) {
    const int64_t count = std::min<int64_t>(1000 - first, 1 + random() % 90);
    std::vector<const void*> sources;
    for (const Bytes& replica : replicas) sources.push_back(replica.data() + first * 4);
    Reduce(Aggregation::kMean, ElementType::kFloat32, sources.data(), 3, count,
           pieces.data() + first * 4);
    first += count;
  }
  EXPECT_TRUE(pieces == whole);
}

TEST(FloatMeanAndSumAreThoseOfDoubles) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (int replicas = 2; replicas <= 7; ++replicas) {
    std::vector<std::vector<float>> values(replicas, std::vector<float>(777));
    for (auto& replica : values) {
      for (float& value : replica) value = normal(random) * std::exp(10 * normal(random));
    }
    const auto mean = ReduceValues<float>(Aggregation::kMean, ElementType::kFloat32, values);
    const auto sum = ReduceValues<float>(Aggregation::kSum, ElementType::kFloat32, values);
    for (int i = 0; i < 777; ++i) {
      double expected = 0;
      for (const auto& replica : values) expected += replica[i];
      EXPECT_EQ(sum[i], static_cast<float>(expected));
      EXPECT_EQ(mean[i], static_cast<float>(expected / replicas));
    }
  }
}

TEST(TwoFloatsAverageAsDoublesNearEveryLimit) {
  std::mt19937 random(10);
  // Exponents of denormals, of the smallest and the largest numbers and of those around one. The
  // second replica is within 30 binary digits of the first, where sums round in every way.
  constexpr uint32_t kExponents[] = {0, 1, 2, 100, 127, 252, 253, 254};
  std::vector<std::vector<uint32_t>> bits(2);
  for (int i = 0; i < 100000; ++i) {
    const uint32_t exponent = kExponents[random() % 8];
    const uint32_t apart = random() % 31;
    // Rarely an infinity or a NaN: most vectors have none.
    const uint32_t draw = random();
    const uint32_t second = random() % 200 == 0 ? 255 : exponent - std::min(exponent, apart);
    bits[0].push_back((draw & 0x807fffff) | exponent << 23);
    bits[1].push_back(((draw << 5 ^ random()) & 0x807fffff) | second << 23);
  }
  for (Aggregation aggregation : {Aggregation::kMean, Aggregation::kSum}) {
    const auto result = ReduceValues<uint32_t>(aggregation, ElementType::kFloat32, bits);
    for (size_t i = 0; i < result.size(); ++i) {
      float values[3];
      std::memcpy(&values[0], &bits[0][i], 4);
      std::memcpy(&values[1], &bits[1][i], 4);
      std::memcpy(&values[2], &result[i], 4);
      const double sum = static_cast<double>(values[0]) + values[1];
      const float expected = static_cast<float>(aggregation == Aggregation::kMean ? sum / 2 : sum);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(values[2]));
      } else {
        EXPECT_EQ(result[i], BitsOf(expected));
      }
    }
  }
}

TEST(DoubleMeanDoesNotOverflow) {
  const double big = std::numeric_limits<double>::max();
  const double less = std::nextafter(big, 0);
  const auto mean =
      ReduceValues<double>(Aggregation::kMean, ElementType::kFloat64, {{big}, {less}, {less}});
  EXPECT_EQ(mean[0], less);
}

TEST(HalfMeanAndSumAreTheNearestHalves) {
  std::vector<std::vector<uint16_t>> values(2);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    values[0].push_back(static_cast<uint16_t>(bits));
    values[1].push_back(static_cast<uint16_t>(bits * 40503u + 1));
  }
  for (VectorLevel level : kLevels) {
    if (level > BestVectorLevel()) continue;
    std::vector<uint16_t> mean(0x10000);
    std::vector<uint16_t> sum(0x10000);
    const void* sources[] = {values[0].data(), values[1].data()};
    ReduceAtLevel(level, Aggregation::kMean, ElementType::kFloat16, sources, 2, 0x10000,
                  mean.data());
    ReduceAtLevel(level, Aggregation::kSum, ElementType::kFloat16, sources, 2, 0x10000, sum.data());
    for (int i = 0; i < 0x10000; ++i) {
      const float exact =
          static_cast<float>(HalfValue(values[0][i])) + static_cast<float>(HalfValue(values[1][i]));
      EXPECT_EQ(sum[i], NearestHalf(exact));
      if (values[0][i] != values[1][i]) EXPECT_EQ(mean[i], NearestHalf(exact / 2));
    }
  }
}

TEST(BFloatMeanRoundsToEven) {
  // 1 + 1/128 and 1 average to 1 + 1/256, half way: to the even 1. One bit further: to the even 1 +
  // 2/128.
  const auto mean = ReduceValues<uint16_t>(Aggregation::kMean, ElementType::kBFloat16,
                                           {{0x3f81, 0x3f82}, {0x3f80, 0x3f81}});
  EXPECT_EQ(mean[0], 0x3f80);
  EXPECT_EQ(mean[1], 0x3f82);
}

TEST(ByteFloatsGoThroughTheirCodec) {
  const std::vector<Bytes> replicas = {{128 + 16, 255, 7}, {128 + 32, 0, 7}};
  EXPECT_TRUE(ReduceBytes(BestVectorLevel(), Aggregation::kMean, ElementType::kByteFloat,
                          replicas) == (Bytes{128 + 24, 255, 7}));
  EXPECT_TRUE(ReduceBytes(BestVectorLevel(), Aggregation::kSum, ElementType::kByteFloat,
                          replicas) == (Bytes{128 + 48, 255, 0}));
}

TEST(ComplexPartsAverageSeparately) {
  const auto mean = ReduceValues<std::array<float, 2>>(Aggregation::kMean, ElementType::kComplex64,
                                                       {{{1, 10}}, {{3, 30}}});
  EXPECT_EQ(mean[0][0], 2.0f);
  EXPECT_EQ(mean[0][1], 20.0f);
}

TEST(IntegersHaveNoMeanAndTheirSumWraps) {
  const std::vector<std::vector<int8_t>> bytes = {{100, -100, 1}, {100, -100, 2}};
  EXPECT_TRUE(ReduceValues<int8_t>(Aggregation::kMean, ElementType::kInt8, bytes) == bytes[0]);
  EXPECT_TRUE(ReduceValues<int8_t>(Aggregation::kSum, ElementType::kInt8, bytes) ==
              (std::vector<int8_t>{-56, 56, 3}));
  const int64_t big = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(ReduceValues<int64_t>(Aggregation::kSum, ElementType::kInt64, {{big}, {1}})[0],
            std::numeric_limits<int64_t>::min());
}

TEST(OnlyFirstReplicaCopies) {
  std::mt19937 random(9);
  for (ElementType type : kTypes) {
    const std::vector<Bytes> replicas = {RandomBytes(64, &random), RandomBytes(64, &random)};
    EXPECT_TRUE(ReduceBytes(BestVectorLevel(), Aggregation::kOnlyFirstReplica, type, replicas) ==
                replicas[0]);
  }
}

TEST(OpaqueElementsCannotBeSummed) {
  for (ElementType type : kTypes) {
    EXPECT_EQ(CanReduce(Aggregation::kSum, type), type != ElementType::kOpaque);
    EXPECT_TRUE(CanReduce(Aggregation::kMean, type));
    EXPECT_TRUE(CanReduce(Aggregation::kOnlyFirstReplica, type));
  }
}

TEST(DestinationMayBeTheFirstReplica) {
  std::vector<float> first(1000, 1.0f);
  const std::vector<float> second(1000, 2.0f);
  const void* sources[] = {first.data(), second.data()};
  Reduce(Aggregation::kMean, ElementType::kFloat32, sources, 2, 1000, first.data());
  EXPECT_TRUE(first == std::vector<float>(1000, 1.5f));
}

TEST(TheThreadsRoundingModeIsLeftAloneAndWithoutEffect) {
  std::fesetround(FE_UPWARD);
  const auto sum = ReduceValues<float>(Aggregation::kSum, ElementType::kFloat32, {{1.0f}, {1e-9f}});
  const int rounding = std::fegetround();
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(rounding, FE_UPWARD);
  EXPECT_EQ(sum[0], 1.0f);
}

#if defined(__x86_64__)
TEST(DenormalsCountOnAThreadThatFlushesThem) {
  const unsigned int saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040);  // flush results to zero, and take operands as zeros
  const auto mean =
      ReduceValues<uint32_t>(Aggregation::kMean, ElementType::kFloat32, {{2, 2}, {4, 2}});
  _mm_setcsr(saved);
  EXPECT_EQ(mean[0], 3u);
  EXPECT_EQ(mean[1], 2u);
}
#endif

}  // namespace
}  // namespace autodist
