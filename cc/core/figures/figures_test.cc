// Figures against an obvious oracle: element by element, in long double.

#include "core/figures/figures.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/figures/deviation.h"
#include "core/reduction/reduce_formats.h"
#include "core/testing/testing.h"

namespace autodist {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kSizes[] = {0, 1, 2, 31, 63, 64, 65, 127, 2047, 2048, 2049, 5003};

std::vector<VectorLevel> Levels() {
  std::vector<VectorLevel> levels = {VectorLevel::kPortable};
  for (const VectorLevel level : {VectorLevel::kAvx2, VectorLevel::kAvx512}) {
    if (level <= BestFiguresLevel()) levels.push_back(level);
  }
  return levels;
}

double NormOf(const Figures& figures) {
  return std::hypot(std::sqrt(figures.squares), figures.extra_norm);
}

bool IsNear(double a, double b, double error) { return a == b || std::abs(a - b) <= error; }

// Compares the figures of elements with those of their values.
void Check(ElementType type, const void* elements, const std::vector<double>& values,
           const ByteFloatCodec* codec = nullptr) {
  Figures expected;
  long double squares = 0, sum = 0, sizes = 0;
  for (const double value : values) {
    ++expected.count;
    expected.nans += std::isnan(value);
    expected.positive_infinities += value == kInfinity;
    expected.negative_infinities += value == -kInfinity;
    if (!std::isfinite(value)) continue;
    expected.min = std::min(expected.min, value);
    expected.max = std::max(expected.max, value);
    squares += static_cast<long double>(value) * value;
    sum += value;
    sizes += std::abs(value);
  }
  const bool is_complex = type == ElementType::kComplex64 || type == ElementType::kComplex128;
  const auto norm = static_cast<double>(std::sqrt(squares));
  for (const VectorLevel level : Levels()) {
    Figures figures;
    AddFiguresAtLevel(level, type, elements, expected.count / (is_complex ? 2 : 1), codec,
                      &figures);
    EXPECT_EQ(figures.count, expected.count);
    EXPECT_EQ(figures.nans, expected.nans);
    EXPECT_EQ(figures.positive_infinities, expected.positive_infinities);
    EXPECT_EQ(figures.negative_infinities, expected.negative_infinities);
    EXPECT_EQ(figures.min, expected.min);
    EXPECT_EQ(figures.max, expected.max);
    EXPECT_TRUE(IsNear(NormOf(figures), norm, 2e-6 * norm));
    EXPECT_TRUE(IsNear(figures.sum, static_cast<double>(sum), 2e-6 * static_cast<double>(sizes)));
    EXPECT_EQ(figures.deviation, Figures::kNotMeasured);
  }
}

template <typename Number>
void CheckNumbers(ElementType type, const std::vector<Number>& numbers) {
  Check(type, numbers.data(), std::vector<double>(numbers.begin(), numbers.end()));
}

// Numbers of all sizes; every `rarity`-th is a NaN or an infinity, 0: none.
template <typename Float>
std::vector<Float> RandomFloats(int64_t count, int least_exponent, int most_exponent, int rarity,
                                std::mt19937* random) {
  std::normal_distribution<double> normal;
  std::vector<Float> values;
  for (int64_t i = 0; i < count; ++i) {
    const int range = most_exponent - least_exponent + 1;
    const int exponent = least_exponent + static_cast<int>((*random)() % range);
    values.push_back(static_cast<Float>(std::ldexp(normal(*random), exponent)));
    if (rarity == 0 || (*random)() % rarity != 0) continue;
    const Float specials[] = {
        std::numeric_limits<Float>::quiet_NaN(), -std::numeric_limits<Float>::quiet_NaN(),
        std::numeric_limits<Float>::infinity(), -std::numeric_limits<Float>::infinity()};
    values.back() = specials[(*random)() % 4];
  }
  return values;
}

TEST(FiguresOfFloatsOfAllSizes) {
  std::mt19937 random(1);
  for (const int64_t size : kSizes) {
    for (const int rarity : {0, 1, 10, 3000}) {
      CheckNumbers(ElementType::kFloat32, RandomFloats<float>(size, -3, 3, rarity, &random));
      CheckNumbers(ElementType::kFloat32, RandomFloats<float>(size, -140, -130, rarity, &random));
      CheckNumbers(ElementType::kFloat32, RandomFloats<float>(size, -60, -50, rarity, &random));
      CheckNumbers(ElementType::kFloat32, RandomFloats<float>(size, 110, 120, rarity, &random));
      CheckNumbers(ElementType::kFloat64, RandomFloats<double>(size, -3, 3, rarity, &random));
      CheckNumbers(ElementType::kFloat64,
                   RandomFloats<double>(size, -1060, -1000, rarity, &random));
      CheckNumbers(ElementType::kFloat64, RandomFloats<double>(size, 900, 1000, rarity, &random));
    }
    CheckNumbers(ElementType::kFloat32, std::vector<float>(size, 0));
    CheckNumbers(ElementType::kFloat64, std::vector<double>(size, -0.0));
  }
}

TEST(FiguresOfHalfFormats) {
  std::mt19937 random(2);
  const reducing::Reduction none{};
  for (const int64_t size : kSizes) {
    for (const bool is_half : {true, false}) {
      for (const int rarity : {0, 500}) {
        std::vector<uint16_t> bits;
        std::vector<double> values;
        for (const float value : RandomFloats<float>(size, -12, 10, rarity, &random)) {
          const uint16_t narrow = is_half ? reducing::Float16(none).Narrow(value)
                                          : reducing::BFloat16(none).Narrow(value);
          bits.push_back(std::isnan(value) ? 0x7fff : narrow);
          values.push_back(is_half ? reducing::Float16(none).Widen(bits.back())
                                   : reducing::BFloat16(none).Widen(bits.back()));
        }
        Check(is_half ? ElementType::kFloat16 : ElementType::kBFloat16, bits.data(), values);
      }
    }
  }
}

TEST(FiguresOfComplexElementsAreOfTheirComponents) {
  std::mt19937 random(3);
  CheckNumbers(ElementType::kComplex64, RandomFloats<float>(6000, -3, 3, 1000, &random));
  CheckNumbers(ElementType::kComplex128, RandomFloats<double>(6000, -3, 3, 1000, &random));
}

template <typename Integer>
void CheckIntegers(ElementType type, std::mt19937* random) {
  for (const int64_t size : kSizes) {
    std::vector<Integer> values;
    for (int64_t i = 0; i < size; ++i) {
      values.push_back(static_cast<Integer>((uint64_t{(*random)()} << 32 | (*random)()) >> 1));
    }
    CheckNumbers(type, values);
  }
}

TEST(FiguresOfIntegers) {
  std::mt19937 random(4);
  CheckIntegers<int8_t>(ElementType::kInt8, &random);
  CheckIntegers<int16_t>(ElementType::kInt16, &random);
  CheckIntegers<int32_t>(ElementType::kInt32, &random);
  CheckIntegers<int64_t>(ElementType::kInt64, &random);
  CheckIntegers<uint8_t>(ElementType::kUint8, &random);
  CheckIntegers<uint16_t>(ElementType::kUint16, &random);
  CheckIntegers<uint32_t>(ElementType::kUint32, &random);
  CheckIntegers<uint64_t>(ElementType::kUint64, &random);
}

TEST(FiguresOfByteFloats) {
  static float decode[256];
  for (int i = 0; i < 256; ++i) decode[i] = static_cast<float>(i - 128) / 16;
  decode[255] = std::numeric_limits<float>::quiet_NaN();
  const ByteFloatCodec codec{decode, nullptr};
  std::mt19937 random(5);
  for (const int64_t size : kSizes) {
    std::vector<uint8_t> bytes;
    std::vector<double> values;
    for (int64_t i = 0; i < size; ++i) {
      bytes.push_back(static_cast<uint8_t>(random()));
      values.push_back(decode[bytes.back()]);
    }
    Check(ElementType::kByteFloat, bytes.data(), values, &codec);
  }
}

TEST(FiguresAtAnyAddress) {
  std::mt19937 random(6);
  const std::vector<float> values = RandomFloats<float>(3000, -3, 3, 700, &random);
  for (int shift = 0; shift < 4; ++shift) {
    std::vector<char> bytes(values.size() * sizeof(float) + 4);
    std::memcpy(bytes.data() + shift, values.data(), values.size() * sizeof(float));
    Check(ElementType::kFloat32, bytes.data() + shift,
          std::vector<double>(values.begin(), values.end()));
  }
}

// However elements are cut: counts, minimum and maximum are the same, and norms nearly.
TEST(JoinedFiguresAreThoseOfTheWhole) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const std::vector<float> values =
        RandomFloats<float>(1 + random() % 9000, -3, 3, round % 2 ? 800 : 0, &random);
    const auto count = static_cast<int64_t>(values.size());
    Figures whole, joined;
    AddFigures(ElementType::kFloat32, values.data(), count, nullptr, &whole);
    for (int64_t begin = 0; begin < count;) {
      const int64_t size = std::min<int64_t>(count - begin, 1 + random() % 4000);
      Figures part;
      AddFigures(ElementType::kFloat32, values.data() + begin, size, nullptr, &part);
      const Figures::Words words = ToWords(part);
      Join(FromWords(words.data()), &joined);
      begin += size;
    }
    EXPECT_EQ(joined.count, whole.count);
    EXPECT_EQ(joined.nans, whole.nans);
    EXPECT_EQ(joined.positive_infinities, whole.positive_infinities);
    EXPECT_EQ(joined.negative_infinities, whole.negative_infinities);
    EXPECT_EQ(joined.min, whole.min);
    EXPECT_EQ(joined.max, whole.max);
    EXPECT_TRUE(IsNear(NormOf(joined), NormOf(whole), 2e-6 * NormOf(whole)));
  }
}

double DeviationOf(const std::vector<std::vector<float>>& replicas) {
  std::vector<const void*> sources;
  for (const auto& replica : replicas) sources.push_back(replica.data());
  return LargestDeviation(ElementType::kFloat32, sources.data(), static_cast<int>(sources.size()),
                          static_cast<int64_t>(replicas[0].size()), nullptr);
}

TEST(DeviationIsTheLargestDifferenceOfTwoReplicas) {
  std::mt19937 random(8);
  for (int round = 0; round < 100; ++round) {
    const std::vector<float> first = RandomFloats<float>(1 + random() % 5000, -3, 3, 100, &random);
    std::vector<std::vector<float>> replicas(2 + random() % 3, first);
    EXPECT_EQ(DeviationOf(replicas), 0.0);
    const size_t at = random() % first.size();
    for (auto& replica : replicas) replica[at] = 0;
    replicas.front()[at] = -0.0f;
    EXPECT_EQ(DeviationOf(replicas), 0.0);
    replicas.front()[at] = -1;
    replicas.back()[at] = 2.5;
    EXPECT_EQ(DeviationOf(replicas), 3.5);
    replicas.back()[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(DeviationOf(replicas), kInfinity);
    replicas.back()[at] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(DeviationOf(replicas), kInfinity);
  }
}

}  // namespace
}  // namespace autodist
