// Bytes between the host and a device whose memory the host cannot touch.

#include "accelerators/accelerator.h"

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "accelerators/device_reader.h"
#include "accelerators/device_writer.h"
#include "accelerators/testing/hidden_device.h"
#include "core/testing/testing.h"
#include "threads/block.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using testing::HiddenDevice;
using testing::HiddenState;

// A device, and what it does for a save.
class Bench {
 public:
  Bench() : device_(tensorflow::SessionOptions(), "/job:localhost/device:HIDDEN:0", "HIDDEN") {
    HiddenState().failing_copy = -1;
    HiddenState().copy_us = 0;
    HiddenState().hands_on = false;
    HiddenState().tells_memory = true;
    HiddenState().most_pinned_bytes = 0;
    HiddenState().most_pending_bytes = 0;
    HiddenState().largest_copy_bytes = 0;
    accelerator_ = *Accelerator::Create(&device_, device_.context());
  }

  std::shared_ptr<Accelerator> accelerator() const { return accelerator_; }

  Tensor Upload(const std::string& bytes) {
    Tensor host(tensorflow::DT_INT8, tensorflow::TensorShape({static_cast<int64_t>(bytes.size())}));
    std::memcpy(host.data(), bytes.data(), bytes.size());
    return device_.Upload(host);
  }

  Tensor Empty(int64_t size) {
    return *accelerator_->NewTensor(tensorflow::DT_INT8, tensorflow::TensorShape({size}));
  }

  std::string Download(const Tensor& tensor) {
    device_.context()->queue().Wait();
    const auto size = static_cast<int64_t>(tensor.TotalBytes());
    return std::string(testing::HiddenMemory::Get().AsDevice(tensor.data(), size), size);
  }

 private:
  HiddenDevice device_;
  std::shared_ptr<Accelerator> accelerator_;
};

std::string SomeBytes(int64_t size) {
  std::string bytes(size, 0);
  uint32_t state = 7;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

const char* At(const Tensor& tensor, int64_t offset) {
  return static_cast<const char*>(tensor.data()) + offset;
}

TEST(BytesAreReadBlockByBlockByManyThreads) {
  Bench bench;
  HiddenState().copy_us = 200;
  const std::string bytes = SomeBytes(20 * kBlockBytes + 1234);
  const auto size = static_cast<int64_t>(bytes.size());
  const Tensor tensor = bench.Upload(bytes);
  for (const int count : {1, 4, 12}) {
    DeviceReader reader(bench.accelerator(), tensor, "v");
    // Not from the beginning: the unit is the second of two.
    const int64_t first = 4096;
    reader.Expect(At(tensor, first), size - first);
    std::string read = bytes.substr(0, first) + std::string(size - first, 0);
    std::atomic<int64_t> next{0};
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&] {
        while (true) {
          const int64_t block = next++;
          if (block >= BlockCount(size - first)) return;
          const int64_t begin = first + block * kBlockBytes;
          const int64_t length = BlockSize(size - first, block);
          failures += !reader.Read(At(tensor, begin), length, &read[begin]).ok();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failures.load(), 0);
    EXPECT_TRUE(read == bytes);
  }
  EXPECT_TRUE(HiddenState().largest_copy_bytes <= kBlockBytes);
  EXPECT_TRUE(HiddenState().most_pending_bytes <= PinnedRing::kMostBlocks * kBlockBytes);
  EXPECT_TRUE(HiddenState().most_pinned_bytes <= PinnedRing::kMostBlocks * kBlockBytes);
}

TEST(TheNextBlocksAreOnTheirWayWhileOneIsRead) {
  Bench bench;
  const Tensor tensor = bench.Upload(SomeBytes(8 * kBlockBytes));
  DeviceReader reader(bench.accelerator(), tensor, "v");
  reader.Expect(At(tensor, 0), 8 * kBlockBytes);
  std::string block(kBlockBytes, 0);
  const int64_t before = HiddenState().copies_out;
  EXPECT_TRUE(reader.Read(At(tensor, 0), kBlockBytes, block.data()).ok());
  EXPECT_EQ(HiddenState().copies_out - before, 1 + static_cast<int64_t>(DeviceReader::kMostAhead));
  for (int64_t i = 1; i < 8; ++i) {
    EXPECT_TRUE(reader.Read(At(tensor, i * kBlockBytes), kBlockBytes, block.data()).ok());
  }
  // Each block once.
  EXPECT_EQ(HiddenState().copies_out - before, int64_t{8});
}

TEST(AnyPartsAreReadInAnyOrder) {
  Bench bench;
  const std::string bytes = SomeBytes(3 * kBlockBytes);
  const Tensor tensor = bench.Upload(bytes);
  DeviceReader reader(bench.accelerator(), tensor, "v");
  for (const auto& [begin, size] : std::vector<std::pair<int64_t, int64_t>>{
           {2 * kBlockBytes, 10}, {5, 3 * kBlockBytes - 5}, {0, 1}, {7, 0}}) {
    std::string read(size, 0);
    EXPECT_TRUE(reader.Read(At(tensor, begin), size, read.data()).ok());
    EXPECT_TRUE(read == bytes.substr(begin, size));
  }
}

TEST(ACopyThatFailsIsAnErrorThatNamesVariableAndDevice) {
  Bench bench;
  const Tensor tensor = bench.Upload(SomeBytes(6 * kBlockBytes));
  for (int64_t failing = 0; failing < 4; ++failing) {
    DeviceReader reader(bench.accelerator(), tensor, "emb");
    reader.Expect(At(tensor, 0), 6 * kBlockBytes);
    HiddenState().failing_copy = failing;
    std::string block(kBlockBytes, 0);
    absl::Status status;
    for (int64_t i = 0; i < 6 && status.ok(); ++i) {
      status = reader.Read(At(tensor, i * kBlockBytes), kBlockBytes, block.data());
    }
    EXPECT_EQ(status.message(),
              "variable 'emb': /job:localhost/device:HIDDEN:0: the link to the device is down");
  }
  HiddenState().failing_copy = -1;
}

TEST(BlocksComeBackFromAReaderThatIsGivenUp) {
  Bench bench;
  HiddenState().copy_us = 2000;
  const Tensor tensor = bench.Upload(SomeBytes(6 * kBlockBytes));
  std::string block(kBlockBytes, 0);
  for (int i = 0; i < 20; ++i) {
    DeviceReader reader(bench.accelerator(), tensor, "v");
    reader.Expect(At(tensor, 0), 6 * kBlockBytes);
    EXPECT_TRUE(reader.Read(At(tensor, 0), kBlockBytes, block.data()).ok());
  }
  EXPECT_TRUE(HiddenState().most_pinned_bytes <= PinnedRing::kMostBlocks * kBlockBytes);
  EXPECT_EQ(HiddenState().pending_bytes.load(), int64_t{0});
}

TEST(BytesAreWrittenFromBlocksThatAreUsedAgain) {
  Bench bench;
  HiddenState().copy_us = 200;
  const std::string bytes = SomeBytes(20 * kBlockBytes + 99);
  const auto size = static_cast<int64_t>(bytes.size());
  const Tensor tensor = bench.Empty(size);
  DeviceWriter writer(bench.accelerator(), tensor);
  std::vector<std::thread> threads;
  std::atomic<int64_t> next{0};
  std::atomic<int> failures{0};
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      std::string buffer(kBlockBytes, 0);
      while (true) {
        const int64_t block = next++;
        if (block >= BlockCount(size)) return;
        const int64_t length = BlockSize(size, block);
        std::memcpy(buffer.data(), &bytes[block * kBlockBytes], length);
        DeviceWriter::Batch batch(&writer);
        failures += !batch.Add(block * kBlockBytes, buffer.data(), length).ok();
        failures += !batch.Send().ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
  EXPECT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(bench.Download(tensor) == bytes);
  EXPECT_TRUE(HiddenState().most_pinned_bytes <= PinnedRing::kMostBlocks * kBlockBytes);
}

TEST(RangesThatLieApartShareABlock) {
  Bench bench;
  const std::string bytes = SomeBytes(3 * kBlockBytes);
  const Tensor tensor = bench.Upload(std::string(3 * kBlockBytes, 'x'));
  DeviceWriter writer(bench.accelerator(), tensor);
  std::string expected(3 * kBlockBytes, 'x');
  const int64_t before = HiddenState().copies_in;
  {
    DeviceWriter::Batch batch(&writer);
    for (const auto& [begin, size] : std::vector<std::pair<int64_t, int64_t>>{
             {10, 5}, {15, 5}, {100, 1}, {kBlockBytes, 2 * kBlockBytes - 7}}) {
      EXPECT_TRUE(batch.Add(begin, &bytes[begin], size).ok());
      expected.replace(begin, size, bytes, begin, size);
    }
    EXPECT_TRUE(batch.Send().ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(bench.Download(tensor) == expected);
  // 10 to 20, 100, and the rest, which three blocks have.
  EXPECT_EQ(HiddenState().copies_in - before, int64_t{5});
}

TEST(AnUploadThatFailsIsAnErrorOfTheWriter) {
  Bench bench;
  const std::string bytes = SomeBytes(10 * kBlockBytes);
  const Tensor tensor = bench.Empty(10 * kBlockBytes);
  HiddenState().failing_copy = 3;
  DeviceWriter writer(bench.accelerator(), tensor);
  absl::Status status;
  for (int64_t i = 0; i < 10 && status.ok(); ++i) {
    DeviceWriter::Batch batch(&writer);
    status = batch.Add(i * kBlockBytes, &bytes[i * kBlockBytes], kBlockBytes);
    if (status.ok()) status = batch.Send();
  }
  if (status.ok()) status = writer.Finish();
  EXPECT_EQ(status.message(), "/job:localhost/device:HIDDEN:0: the link to the device is down");
  HiddenState().failing_copy = -1;
}

TEST(ADeviceThatHandsTensorsOnIsRefused) {
  Bench bench;
  const Tensor tensor = bench.Empty(100);
  HiddenState().hands_on = true;
  DeviceWriter writer(bench.accelerator(), tensor);
  DeviceWriter::Batch batch(&writer);
  const std::string bytes(100, 'a');
  EXPECT_TRUE(batch.Add(0, bytes.data(), 100).ok());
  absl::Status status = batch.Send();
  if (status.ok()) status = writer.Finish();
  EXPECT_TRUE(absl::IsFailedPrecondition(status) &&
              absl::StrContains(status.message(), "went to other memory"));
  HiddenState().hands_on = false;
}

TEST(MemoryOfAnUnknownKindIsRefused) {
  Bench bench;
  const Tensor tensor = bench.Upload(SomeBytes(100));
  HiddenState().tells_memory = false;
  DeviceReader reader(bench.accelerator(), tensor, "v");
  char byte;
  const absl::Status status = reader.Read(At(tensor, 0), 1, &byte);
  EXPECT_TRUE(absl::IsFailedPrecondition(status) &&
              absl::StrContains(status.message(), "AUTODIST_ACCELERATORS"));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      bench.accelerator()->NewTensor(tensorflow::DT_FLOAT, {4}).status()));
  HiddenState().tells_memory = true;
}

TEST(NoMemoryOnTheDeviceIsAnErrorThatNamesIt) {
  Bench bench;
  HiddenState().memory_bytes = 1 << 20;
  const absl::Status status =
      bench.accelerator()->NewTensor(tensorflow::DT_FLOAT, {1 << 20}).status();
  HiddenState().memory_bytes = 512 << 20;
  EXPECT_EQ(status.message(),
            "no memory on /job:localhost/device:HIDDEN:0 for a float of shape [1048576]");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
}

TEST(ADeviceWithoutAContextIsRefused) {
  HiddenDevice device(tensorflow::SessionOptions(), "/device:HIDDEN:1", "HIDDEN");
  EXPECT_TRUE(absl::IsFailedPrecondition(Accelerator::Create(&device, nullptr).status()));
}

}  // namespace
}  // namespace autodist
