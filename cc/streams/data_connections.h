// The data connections that a task has during one save or restore.

#ifndef AUTODIST_STREAMS_DATA_CONNECTIONS_H_
#define AUTODIST_STREAMS_DATA_CONNECTIONS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "streams/data_connection.h"

namespace autodist {

// The number of the task that listens; the others have their own, from 1 on.
inline constexpr uint32_t kChiefNumber = 0;

// Thread-safe.
class DataConnections {
 public:
  // A connection that no other thread uses while this lives.
  class Use {
   public:
    // REQUIRES: BeginUse() of `connection` has returned true.
    explicit Use(std::shared_ptr<DataConnection> connection) : connection_(std::move(connection)) {}
    Use(Use&&) = default;
    ~Use() {
      if (connection_ != nullptr) connection_->EndUse();
    }
    DataConnection* get() const { return connection_.get(); }

   private:
    std::shared_ptr<DataConnection> connection_;
  };

  // The connection to a task, by its number. Ended at once if all were ended.
  void Add(uint32_t number, std::shared_ptr<DataConnection> connection);

  // FailedPrecondition if there is none, or it is in use.
  absl::StatusOr<Use> Find(uint32_t number);

  // Ends all connections, and those that are added later. Who uses one finds it ended.
  void End();

 private:
  std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<DataConnection>> connections_;
  bool are_ended_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_STREAMS_DATA_CONNECTIONS_H_
