#include "save/commit/bundle_files.h"

#include <algorithm>
#include <fstream>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/testing/testing.h"
#include "format/index/bundle_names.h"
#include "storage/temporary_name.h"
#include "storage/testing/faulty_file_system.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"

namespace autodist {
namespace {

using testing::FaultyFileSystem;
using testing::ReadFile;
using testing::TemporaryDirectory;
using Names = std::vector<std::string>;

// Stands for an index: the number of data files and the values.
BundleFiles::IndexOf IndexOf(const std::string& values) {
  return [values](int file_count) -> absl::StatusOr<std::string> {
    return absl::StrCat(file_count, " ", values);
  };
}

absl::Status Save(const TemporaryDirectory& directory, const std::string& values,
                  FaultyFileSystem* faults, bool durable = true) {
  auto opened = SaveDirectory::OpenParent(directory.path() + "/m");
  auto files = BundleFiles::CreateIn(faults->Wrap(*std::move(opened)), "m", durable);
  if (!files.ok()) return files.status();
  absl::Status status = (*files)->ReserveData(values.size());
  if (status.ok()) status = (*files)->WriteData(0, values);
  if (status.ok()) status = (*files)->Commit(IndexOf(values));
  return status;
}

absl::Status Save(const TemporaryDirectory& directory, const std::string& values) {
  FaultyFileSystem faults;
  return Save(directory, values, &faults);
}

// The values that the index and the data file it names agree about; nothing where they do not.
std::optional<std::string> Load(const TemporaryDirectory& directory) {
  const std::string index = ReadFile(directory.path() + "/m.index");
  if (index.size() < 2) return std::nullopt;
  const std::string values = index.substr(2);
  const std::string data =
      ReadFile(absl::StrCat(directory.path(), "/m.data-00000-of-0000", index.substr(0, 1)));
  return data == values ? std::optional<std::string>(values) : std::nullopt;
}

bool HasTemporaryFile(const TemporaryDirectory& directory) {
  const Names names = directory.Names();
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return IsTemporaryName(name); });
}

TEST(ASaveOverABundleLeavesTheUsualNames) {
  const TemporaryDirectory directory;
  for (const char* values : {"first", "second", "third"}) {
    EXPECT_EQ(Save(directory, values), absl::OkStatus());
    EXPECT_TRUE(Load(directory) == values);
    EXPECT_TRUE(directory.Names() == Names({"m.data-00000-of-00001", "m.index"}));
  }
}

TEST(WhereverACallFailsTheFormerBundleOrTheNewOneIsThere) {
  for (const bool durable : {true, false}) {
    for (const bool can_rename : {true, false}) {
      for (int failing = 1;; ++failing) {
        const TemporaryDirectory directory;
        EXPECT_EQ(Save(directory, "former"), absl::OkStatus());
        FaultyFileSystem faults;
        faults.failing_call = failing;
        faults.can_rename = can_rename;
        const absl::Status status = Save(directory, "new", &faults, durable);
        if (static_cast<int>(faults.calls.size()) < failing) break;
        const std::string& call = faults.calls[failing - 1];
        // An object store replaces a file when that is closed; this directory, when it is created.
        if (can_rename || status.ok()) {
          EXPECT_TRUE(Load(directory) == (status.ok() ? "new" : "former"));
        }
        EXPECT_TRUE(call == "remove" || !HasTemporaryFile(directory));
        EXPECT_EQ(Save(directory, "next"), absl::OkStatus());
        EXPECT_TRUE(Load(directory) == "next");
        EXPECT_TRUE(!HasTemporaryFile(directory));
      }
    }
  }
}

TEST(WhereverTheProcessDiesTheFormerBundleOrTheNewOneIsThere) {
  for (int failing = 1;; ++failing) {
    const TemporaryDirectory directory;
    EXPECT_EQ(Save(directory, "former"), absl::OkStatus());
    FaultyFileSystem faults;
    faults.failing_call = failing;
    faults.is_dead_after = true;
    Save(directory, "new", &faults).IgnoreError();
    if (static_cast<int>(faults.calls.size()) < failing) break;
    EXPECT_TRUE(Load(directory) == "former" || Load(directory) == "new");
    EXPECT_EQ(Save(directory, "next"), absl::OkStatus());
    EXPECT_TRUE(directory.Names() == Names({"m.data-00000-of-00001", "m.index"}));
    EXPECT_TRUE(Load(directory) == "next");
  }
}

TEST(AFailedFirstSaveLeavesNothing) {
  for (int failing = 1;; ++failing) {
    const TemporaryDirectory directory;
    FaultyFileSystem faults;
    faults.failing_call = failing;
    const absl::Status status = Save(directory, "new", &faults);
    if (static_cast<int>(faults.calls.size()) < failing) break;
    EXPECT_TRUE(status.ok() || directory.Names().empty());
  }
}

TEST(WithoutLinksTheDataFileKeepsItsOtherName) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Save(directory, "former"), absl::OkStatus());
  FaultyFileSystem counting;
  EXPECT_EQ(Save(directory, "former", &counting), absl::OkStatus());
  // Of the links the last but one gives the data file its usual name.
  int link = 0;
  for (size_t i = counting.calls.size(); i-- > 0;) {
    if (counting.calls[i] == "link" && ++link == 2) {
      FaultyFileSystem faults;
      faults.failing_call = static_cast<int>(i) + 1;
      EXPECT_EQ(Save(directory, "new", &faults), absl::OkStatus());
      EXPECT_TRUE(directory.Names() == Names({"m.data-00000-of-00002", "m.index"}));
      EXPECT_TRUE(Load(directory) == "new");
    }
  }
  EXPECT_EQ(Save(directory, "next"), absl::OkStatus());
  EXPECT_TRUE(directory.Names() == Names({"m.data-00000-of-00001", "m.index"}));
}

TEST(FilesOfOtherPrefixesAndOfTheUserStay) {
  const TemporaryDirectory directory;
  const Names others = {"m-1.data-00000-of-00001", "m.data-00000-of-00001.bak", "m.data.autodist",
                        "m.data-x0000-of-00001", "notes.autodist01234567-89ab"};
  for (const std::string& name : others) std::ofstream(directory.path() + "/" + name) << "kept";
  EXPECT_EQ(Save(directory, "first"), absl::OkStatus());
  EXPECT_EQ(Save(directory, "second"), absl::OkStatus());
  for (const std::string& name : others) {
    EXPECT_EQ(ReadFile(directory.path() + "/" + name), "kept");
  }
}

TEST(DataFilesOfAFormerShardedSaveGo) {
  const TemporaryDirectory directory;
  for (const char* name : {"m.index", "m.data-00000-of-00002", "m.data-00001-of-00002"}) {
    std::ofstream(directory.path() + "/" + name) << "former";
  }
  EXPECT_EQ(Save(directory, "new"), absl::OkStatus());
  EXPECT_TRUE(Load(directory) == "new");
  EXPECT_TRUE(directory.Names() == Names({"m.data-00000-of-00001", "m.index"}));
}

TEST(OnlyADurableSaveSyncs) {
  for (const bool durable : {true, false}) {
    const TemporaryDirectory directory;
    FaultyFileSystem faults;
    EXPECT_EQ(Save(directory, "new", &faults, durable), absl::OkStatus());
    const auto syncs =
        std::count_if(faults.calls.begin(), faults.calls.end(),
                      [](const std::string& call) { return absl::StartsWith(call, "sync"); });
    EXPECT_EQ(syncs, durable ? 4 : 0);
  }
}

TEST(NamesAreThoseOfTensorFlow) {
  EXPECT_EQ(IndexName("a/m-1"), tensorflow::MetaFilename("a/m-1"));
  for (const auto& [number, count] :
       std::vector<std::pair<int, int>>{{0, 1}, {7, 12}, {99999, 100000}, {123456, 1234567}}) {
    EXPECT_EQ(DataName("a/m-1", number, count), tensorflow::DataFilename("a/m-1", number, count));
  }
}

}  // namespace
}  // namespace autodist
