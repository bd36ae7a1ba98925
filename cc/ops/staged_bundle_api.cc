// See the header for what this is for.

#include "ops/staged_bundle_api.h"

#include <memory>
#include <utility>

#include "bundle/guarded.h"
#include "bundle/posix_io.h"
#include "bundle/staged_bundle.h"
#include "ops/api_status.h"

struct AutodistStagedBundle {
  std::unique_ptr<autodist::StagedBundle> staged;
};

int autodist_stage_bundle(const char* prefix, int durable, AutodistStagedBundle** bundle,
                          char* staged_prefix, int64_t prefix_capacity, char* message,
                          int64_t capacity) {
  *bundle = nullptr;
  const absl::Status status = autodist::Guarded([&] {
    auto staged = autodist::StagedBundle::Create(prefix, durable != 0);
    if (staged.ok()) {
      autodist::CopyText((*staged)->prefix(), staged_prefix, prefix_capacity);
      *bundle = new AutodistStagedBundle{*std::move(staged)};
    }
    return staged.status();
  });
  return autodist::Report(status, message, capacity);
}

int autodist_commit_bundle(AutodistStagedBundle** bundle, char* message, int64_t capacity) {
  const absl::Status status = autodist::Guarded([&] {
    const autodist::FileSizeErrors file_size_errors;
    return (*bundle)->staged->Commit();
  });
  return autodist::Report(status, message, capacity);
}

void autodist_discard_bundle(AutodistStagedBundle** bundle) {
  delete std::exchange(*bundle, nullptr);
}
