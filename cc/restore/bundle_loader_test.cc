#include "restore/bundle_loader.h"

#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "restore/testing_restores.h"

namespace autodist {
namespace {

using tensorflow::DataType;
using tensorflow::Tensor;
using testing::Exercise;
using testing::Grid;
using testing::Options;
using testing::RandomShape;
using testing::RandomTensor;
using testing::RandomTiling;
using testing::ReadFile;
using testing::WithoutEmpty;

constexpr DataType kTypes[] = {
    tensorflow::DT_FLOAT,  tensorflow::DT_HALF,      tensorflow::DT_BFLOAT16,
    tensorflow::DT_DOUBLE, tensorflow::DT_COMPLEX64, tensorflow::DT_COMPLEX128,
    tensorflow::DT_INT8,   tensorflow::DT_UINT16,    tensorflow::DT_INT32,
    tensorflow::DT_UINT64, tensorflow::DT_BOOL,      tensorflow::DT_STRING};

constexpr Verify kWays[] = {Verify::kBefore, Verify::kDuring, Verify::kSwap};

TEST(AnyLayoutIsLoadedFromAnyOther) {
  std::mt19937 random(71);
  for (int round = 0; round < 120; ++round) {
    Exercise exercise;
    const int variables = 1 + static_cast<int>(random() % 10);
    const int mixture = static_cast<int>(random() % 3);  // all fresh, some live, all live
    for (int i = 0; i < variables; ++i) {
      const Dims shape = RandomShape(&random);
      const DataType dtype = kTypes[random() % std::size(kTypes)];
      exercise.Add(absl::StrCat("v", random() % 1000, "/", i), RandomTensor(dtype, shape, &random),
                   shape, WithoutEmpty(shape, RandomTiling(shape, &random)),
                   WithoutEmpty(shape, RandomTiling(shape, &random)),
                   1 + static_cast<int>(random() % 3),
                   [&] { return mixture == 2 || (mixture == 1 && random() % 2 == 0); });
    }
    exercise.Write();
    const int threads = 1 + static_cast<int>(random() % 4);
    const Verify verify = kWays[random() % std::size(kWays)];
    EXPECT_EQ(exercise.Load(Options(threads, verify)).status(), absl::OkStatus());
    verify == Verify::kSwap ? exercise.ExpectLoadedToSwap() : exercise.ExpectLoaded();
  }
}

TEST(LargePiecesAreLoadedBlockByBlock) {
  std::mt19937 random(72);
  // Odd sizes: blocks end within rows.
  const Dims shape = {231, 1237};
  const std::vector<Box> layouts[] = {Grid(shape, 1, 1), Grid(shape, 8, 1), Grid(shape, 1, 8),
                                      Grid(shape, 2, 4)};
  Exercise exercise;
  int number = 0;
  for (const auto& stored : layouts) {
    for (const auto& wanted : layouts) {
      const DataType dtype = number % 3 == 0 ? tensorflow::DT_DOUBLE : tensorflow::DT_FLOAT;
      exercise.Add(absl::StrCat("v", number), RandomTensor(dtype, shape, &random), shape, stored,
                   wanted, 1 + number % 2, [&] { return number % 4 == 1; });
      // An odd number of bytes: what follows is not aligned.
      exercise.AddWhole(absl::StrCat("w", number++),
                        RandomTensor(tensorflow::DT_INT8, {7}, &random), true);
    }
  }
  exercise.Write();
  EXPECT_EQ(exercise.Load(Options(4)).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(EveryByteIsReadOncePerPass) {
  std::mt19937 random(73);
  const Dims shape = {600, 700};
  for (bool is_live : {false, true}) {
    for (const Verify verify : kWays) {
      Exercise exercise;
      exercise.Add("v", RandomTensor(tensorflow::DT_FLOAT, shape, &random), shape,
                   Grid(shape, 3, 1), Grid(shape, 2, 4), 3, [&] { return is_live; });
      exercise.Write();
      const int64_t size_bytes = static_cast<int64_t>(ReadFile(exercise.data_path()).size());
      const int passes = is_live && verify == Verify::kBefore ? 2 : 1;
      EXPECT_EQ(exercise.Load(Options(2, verify)).value().read_bytes, passes * size_bytes);
      verify == Verify::kSwap ? exercise.ExpectLoadedToSwap() : exercise.ExpectLoaded();
    }
  }
}

TEST(ManySmallTensorsAreReadTogether) {
  std::mt19937 random(74);
  Exercise exercise;
  for (int i = 0; i < 4000; ++i) {
    const Dims shape = {static_cast<int64_t>(random() % 300)};
    exercise.AddWhole(
        absl::StrCat("layer_", i % 50, "/v", i),
        RandomTensor(i % 7 == 0 ? tensorflow::DT_INT8 : tensorflow::DT_FLOAT, shape, &random),
        i % 5 == 0);
  }
  exercise.Write();
  EXPECT_EQ(exercise.Load(Options(3)).status(), absl::OkStatus());
  exercise.ExpectLoaded();
}

TEST(NothingEmptyTensorsAndScalarsAreLoaded) {
  Exercise nothing;
  nothing.Write();
  EXPECT_EQ(nothing.Load(Options(2)).value().read_bytes, 0);
  std::mt19937 random(75);
  Exercise empty;
  for (const Dims& shape : {Dims{0}, Dims{3, 0}, Dims{0, 2, 5}, Dims{}, Dims{1, 1}}) {
    for (bool is_live : {false, true}) {
      const std::string name = absl::StrCat(shape.size(), is_live, shape.empty() ? 0 : shape[0]);
      empty.AddWhole("v" + name, RandomTensor(tensorflow::DT_FLOAT, shape, &random), is_live);
      empty.AddWhole("s" + name, RandomTensor(tensorflow::DT_STRING, shape, &random), is_live);
    }
  }
  empty.Write();
  EXPECT_EQ(empty.Load(Options(2)).status(), absl::OkStatus());
  empty.ExpectLoaded();
}

}  // namespace
}  // namespace autodist
