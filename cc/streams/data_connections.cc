// The data connections that a task has during one save or restore.

#include "streams/data_connections.h"

#include "absl/strings/str_cat.h"

namespace autodist {

void DataConnections::Add(uint32_t number, std::shared_ptr<DataConnection> connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!are_ended_) connections_[number] = std::move(connection);
}

absl::StatusOr<DataConnections::Use> DataConnections::Find(uint32_t number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = connections_.find(number);
  if (found != connections_.end() && found->second->BeginUse()) return Use(found->second);
  return absl::FailedPreconditionError(
      absl::StrCat("the data connection ", number,
                   found == connections_.end() ? " was ended, or never made" : " is in use"));
}

void DataConnections::End() {
  const std::lock_guard<std::mutex> lock(mutex_);
  are_ended_ = true;
  for (const auto& [number, connection] : connections_) connection->End();
  connections_.clear();
}

}  // namespace autodist
