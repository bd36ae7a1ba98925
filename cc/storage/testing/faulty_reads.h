// A file system from which reads fail, for tests: the local one, under the scheme "faulty://".

#ifndef AUTODIST_STORAGE_TESTING_FAULTY_READS_H_
#define AUTODIST_STORAGE_TESTING_FAULTY_READS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/file_system.h"
#include "versions/tensorflow_versions.h"

namespace autodist::testing {

class FaultyReads {
 public:
  static constexpr char kScheme[] = "faulty://";

  // Whether a read of a data file, so many bytes at an offset, fails. Called by one thread at a
  // time.
  using Fails = std::function<bool(uint64_t offset, size_t size)>;

  // While it lives, reads fail as it says. One at a time.
  explicit FaultyReads(Fails fails) {
    // Looked up before: a factory is called under the lock of the registry.
    static tsl::FileSystem* const local = Local();
    static const absl::Status registered = tsl::Env::Default()->RegisterFileSystem(
        "faulty", []() -> tsl::FileSystem* { return new FileSystem(local); });
    registered.IgnoreError();
    current_ = std::move(fails);
  }
  ~FaultyReads() { current_ = nullptr; }

 private:
  class File : public ReadableFile {
   public:
    explicit File(std::unique_ptr<tsl::RandomAccessFile> file) : file_(std::move(file)) {}
    absl::Status ReadInto(uint64_t offset, absl::Span<char> out,
                          absl::string_view* result) const override {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (current_ && current_(offset, out.size())) {
          *result = absl::string_view();
          return absl::UnknownError("the disk is broken");
        }
      }
      return ReadFileBytes(*file_, offset, out, result);
    }

   private:
    const std::unique_ptr<tsl::RandomAccessFile> file_;
  };

  static tsl::FileSystem* Local() {
    tsl::FileSystem* local = nullptr;
    tsl::Env::Default()->GetFileSystemForFile("/", &local).IgnoreError();
    return local;
  }

  class FileSystem : public tsl::WrappedFileSystem {
   public:
    explicit FileSystem(tsl::FileSystem* local) : WrappedFileSystem(local, nullptr) {}
    absl::Status NewRandomAccessFile(const std::string& name, tsl::TransactionToken* token,
                                     std::unique_ptr<tsl::RandomAccessFile>* result) override {
      absl::Status status = WrappedFileSystem::NewRandomAccessFile(name, token, result);
      if (status.ok() && absl::StrContains(name, ".data-")) {
        *result = std::make_unique<File>(std::move(*result));
      }
      return status;
    }
  };

  static inline std::mutex mutex_;
  static inline Fails current_;
};

}  // namespace autodist::testing

#endif  // AUTODIST_STORAGE_TESTING_FAULTY_READS_H_
