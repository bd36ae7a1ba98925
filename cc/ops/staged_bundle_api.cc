// See the header for what this is for.

#include "ops/staged_bundle_api.h"

#include <memory>
#include <new>
#include <utility>

#include "bundle/posix_io.h"
#include "bundle/staged_bundle.h"
#include "ops/api_status.h"

struct AutodistStagedBundle {
  std::unique_ptr<autodist::StagedBundle> staged;
};

namespace {

absl::Status NoMemory() {
  return absl::ResourceExhaustedError(absl::string_view("no memory to commit a checkpoint"));
}

}  // namespace

int autodist_stage_bundle(const char* prefix, int durable, AutodistStagedBundle** bundle,
                          char* staged_prefix, int64_t prefix_capacity, char* message,
                          int64_t capacity) {
  *bundle = nullptr;
  try {
    auto staged = autodist::StagedBundle::Create(prefix, durable != 0);
    if (staged.ok()) {
      autodist::CopyText((*staged)->prefix(), staged_prefix, prefix_capacity);
      *bundle = new AutodistStagedBundle{*std::move(staged)};
    }
    return autodist::Report(staged.status(), message, capacity);
  } catch (const std::bad_alloc&) {
    return autodist::Report(NoMemory(), message, capacity);
  }
}

int autodist_commit_bundle(AutodistStagedBundle** bundle, char* message, int64_t capacity) {
  try {
    const autodist::FileSizeErrors file_size_errors;
    return autodist::Report((*bundle)->staged->Commit(), message, capacity);
  } catch (const std::bad_alloc&) {
    return autodist::Report(NoMemory(), message, capacity);
  }
}

void autodist_discard_bundle(AutodistStagedBundle** bundle) {
  delete std::exchange(*bundle, nullptr);
}
