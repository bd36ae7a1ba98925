#include "save/commit/staged_bundle.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "storage/temporary_name.h"
#include "storage/testing/faulty_file_system.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace {

// Called after a directory was made, and before one is locked.
std::function<void(int parent, const char* name)> on_made_directory;
std::function<void()> on_lock;

}  // namespace

// In place of the C library's.
extern "C" int mkdirat(int parent, const char* name, mode_t mode) noexcept {
  const int made = static_cast<int>(syscall(SYS_mkdirat, parent, name, mode));
  if (made == 0 && on_made_directory) on_made_directory(parent, name);
  return made;
}
extern "C" int flock(int file, int operation) noexcept {
  if (on_lock) on_lock();
  return static_cast<int>(syscall(SYS_flock, file, operation));
}

namespace autodist {
namespace {

using tensorflow::Tensor;
using testing::FaultyFileSystem;
using testing::ReadFile;
using testing::TemporaryDirectory;
using Names = std::vector<std::string>;

// As TensorFlow's sharded savers do: a bundle per device, then merged.
absl::Status WriteSharded(const std::string& prefix, int shards, float value) {
  std::vector<tensorflow::tstring> parts;
  for (int i = 0; i < shards; ++i) {
    const std::string part = absl::StrCat(prefix, "_temp/part-", i);
    tensorflow::BundleWriter writer(tsl::Env::Default(), part);
    absl::Status status = writer.Add(absl::StrCat("v", i), Tensor(value + i));
    if (status.ok()) status = writer.Finish();
    if (!status.ok()) return status;
    parts.push_back(part);
  }
  return tensorflow::MergeBundles(tsl::Env::Default(), parts, prefix);
}

absl::Status Save(const TemporaryDirectory& directory, int shards, float value,
                  FaultyFileSystem* faults, bool durable = true) {
  auto opened = SaveDirectory::OpenParent(directory.path() + "/m");
  auto bundle =
      StagedBundle::CreateIn(faults->Wrap(*std::move(opened)), directory.path(), "m", durable);
  if (!bundle.ok()) return bundle.status();
  absl::Status status = WriteSharded((*bundle)->prefix(), shards, value);
  if (status.ok()) status = (*bundle)->Commit();
  return status;
}

absl::Status Save(const TemporaryDirectory& directory, int shards, float value) {
  FaultyFileSystem faults;
  return Save(directory, shards, value, &faults);
}

// What stock TensorFlow reads; nothing where the parts do not agree.
std::optional<float> Load(const TemporaryDirectory& directory, int shards) {
  tensorflow::BundleReader reader(tsl::Env::Default(), directory.path() + "/m");
  if (!reader.status().ok()) return std::nullopt;
  std::optional<float> first;
  for (int i = 0; i < shards; ++i) {
    Tensor value(tensorflow::DT_FLOAT, tensorflow::TensorShape({}));
    if (!reader.Lookup(absl::StrCat("v", i), &value).ok()) return std::nullopt;
    const float found = value.scalar<float>()() - static_cast<float>(i);
    if (first.has_value() && *first != found) return std::nullopt;
    first = found;
  }
  return first;
}

bool HasTemporaryFile(const TemporaryDirectory& directory) {
  const Names names = directory.Names();
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return IsTemporaryName(name); });
}

TEST(FilesAreThoseOfStock) {
  const TemporaryDirectory ours, stock;
  EXPECT_EQ(WriteSharded(stock.path() + "/m", 2, 3.0f), absl::OkStatus());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Save(ours, 2, 3.0f), absl::OkStatus());
    EXPECT_TRUE(ours.Names() ==
                Names({"m.data-00000-of-00002", "m.data-00001-of-00002", "m.index"}));
    for (const std::string& name : ours.Names()) {
      EXPECT_TRUE(ReadFile(ours.path() + "/" + name) == ReadFile(stock.path() + "/" + name));
    }
  }
}

TEST(ABundleOfAnotherNumberOfFilesIsReplaced) {
  const TemporaryDirectory directory;
  for (int shards : {1, 3, 2, 1}) {
    EXPECT_EQ(Save(directory, shards, 10.0f * shards), absl::OkStatus());
    EXPECT_TRUE(Load(directory, shards) == 10.0f * shards);
    EXPECT_EQ(directory.Names().size(), size_t(shards + 1));
  }
}

TEST(WhereverACallFailsTheFormerBundleOrTheNewOneIsThere) {
  for (const bool durable : {true, false}) {
    for (int failing = 1;; ++failing) {
      const TemporaryDirectory directory;
      EXPECT_EQ(Save(directory, 2, 1.0f), absl::OkStatus());
      FaultyFileSystem faults;
      faults.failing_call = failing;
      const absl::Status status = Save(directory, 2, 2.0f, &faults, durable);
      if (static_cast<int>(faults.calls.size()) < failing) break;
      EXPECT_TRUE(Load(directory, 2) == (status.ok() ? 2.0f : 1.0f));
      EXPECT_TRUE(faults.calls[failing - 1] == "remove" || !HasTemporaryFile(directory));
      EXPECT_EQ(Save(directory, 2, 3.0f), absl::OkStatus());
      EXPECT_TRUE(Load(directory, 2) == 3.0f && !HasTemporaryFile(directory));
    }
  }
}

TEST(WhereverTheProcessDiesTheFormerBundleOrTheNewOneIsThere) {
  for (int failing = 1;; ++failing) {
    const TemporaryDirectory directory;
    EXPECT_EQ(Save(directory, 2, 1.0f), absl::OkStatus());
    FaultyFileSystem faults;
    faults.failing_call = failing;
    faults.is_dead_after = true;
    Save(directory, 2, 2.0f, &faults).IgnoreError();
    if (static_cast<int>(faults.calls.size()) < failing) break;
    EXPECT_TRUE(Load(directory, 2) == 1.0f || Load(directory, 2) == 2.0f);
    EXPECT_EQ(Save(directory, 2, 3.0f), absl::OkStatus());
    EXPECT_TRUE(directory.Names() ==
                Names({"m.data-00000-of-00002", "m.data-00001-of-00002", "m.index"}));
  }
}

TEST(TheDirectoryOfADeadSaverIsRemovedAndThatOfALivingOneIsNot) {
  const TemporaryDirectory directory;
  const std::string dead = directory.path() + "/" + TemporaryName("m");
  EXPECT_TRUE(std::filesystem::create_directories(dead + "/m_temp/deeper"));
  std::ofstream(dead + "/m_temp/part") << "left";
  std::filesystem::create_directory_symlink(directory.path(), dead + "/link");
  const std::string user = directory.path() + "/m.autodist";
  EXPECT_TRUE(std::filesystem::create_directory(user));
  auto living = StagedBundle::Create(directory.path() + "/other", true);
  EXPECT_TRUE(living.ok());
  EXPECT_EQ(Save(directory, 1, 1.0f), absl::OkStatus());
  EXPECT_TRUE(!std::filesystem::exists(dead));
  EXPECT_TRUE(std::filesystem::exists(user));
  EXPECT_EQ(WriteSharded((*living)->prefix(), 1, 2.0f), absl::OkStatus());
  EXPECT_EQ((*living)->Commit(), absl::OkStatus());
  living->reset();
  EXPECT_TRUE(Load(directory, 1) == 1.0f && !HasTemporaryFile(directory));
  EXPECT_TRUE(std::filesystem::exists(directory.path() + "/other.index"));
}

TEST(ASecondSaveToAPrefixIsRefused) {
  const TemporaryDirectory directory;
  auto first = StagedBundle::Create(directory.path() + "/m", true);
  EXPECT_TRUE(absl::IsAlreadyExists(Save(directory, 1, 1.0f)));
  EXPECT_EQ(WriteSharded((*first)->prefix(), 1, 2.0f), absl::OkStatus());
  EXPECT_EQ((*first)->Commit(), absl::OkStatus());
  first->reset();
  EXPECT_TRUE(Load(directory, 1) == 2.0f && !HasTemporaryFile(directory));
}

TEST(ADataFileThatIsTooShortIsNotCommitted) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(Save(directory, 2, 1.0f).ok());
  {
    auto bundle = StagedBundle::Create(directory.path() + "/m", true);
    EXPECT_TRUE(bundle.ok() && WriteSharded((*bundle)->prefix(), 2, 5.0f).ok());
    std::filesystem::resize_file((*bundle)->prefix() + ".data-00001-of-00002", 3);
    const absl::Status status = (*bundle)->Commit();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_TRUE(absl::StrContains(status.message(), "are missing: the file has 3"));
  }
  EXPECT_TRUE(Load(directory, 2) == 1.0f);
  EXPECT_EQ(directory.Names().size(), size_t{3});
}

// Another saver comes upon the scratch directory before it is locked, as often as it can.
TEST(AnotherSaversCleaningIsNoFailure) {
  const TemporaryDirectory directory;
  for (const bool before_it_is_opened : {true, false}) {
    int cleanings = 3;
    std::string made;
    on_made_directory = [&](int, const char* name) {
      made = name;
      if (!before_it_is_opened || cleanings-- <= 0) return;
      std::error_code ignored;
      std::filesystem::remove(directory.path() + "/" + name, ignored);
    };
    on_lock = [&] {
      if (before_it_is_opened || made.empty() || cleanings-- <= 0) return;
      const std::string name = std::exchange(made, "");
      const auto opened = OpenPosixDirectory(directory.path());
      (*opened)->RemoveIfAbandoned(name);
    };
    EXPECT_EQ(Save(directory, 2, 4.0f), absl::OkStatus());
    on_made_directory = nullptr;
    on_lock = nullptr;
    EXPECT_TRUE(cleanings <= 0);
    EXPECT_TRUE(Load(directory, 2) == 4.0f);
    EXPECT_TRUE(!HasTemporaryFile(directory));
  }
}

TEST(ManyProcessesSaveIntoOneDirectory) {
  const TemporaryDirectory directory;
  std::vector<pid_t> savers;
  for (int i = 0; i < 12; ++i) {
    savers.push_back(fork());
    if (savers.back() != 0) continue;
    for (int round = 0; round < 40; ++round) {
      const auto bundle =
          StagedBundle::Create(absl::StrCat(directory.path(), "/m", i), /*durable=*/false);
      if (!bundle.ok()) {
        std::fprintf(stderr, "%s\n", bundle.status().ToString().c_str());
        _exit(1);
      }
    }
    _exit(0);
  }
  int failures = 0;
  for (const pid_t saver : savers) {
    int status = 0;
    waitpid(saver, &status, 0);
    failures += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  }
  EXPECT_EQ(failures, 0);
  EXPECT_TRUE(directory.Names().empty());
}

}  // namespace
}  // namespace autodist
