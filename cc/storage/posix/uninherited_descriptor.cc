// A file descriptor that a forked child does not keep. The header tells how.

#include "storage/posix/uninherited_descriptor.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <utility>

namespace autodist {

// Never destroyed.
class OpenDescriptors {
 public:
  static OpenDescriptors& Get() {
    static OpenDescriptors* const all = [] {
      auto* const made = new OpenDescriptors;
      pthread_atfork([] { Get().mutex_.lock(); }, [] { Get().mutex_.unlock(); },
                     [] {
                       Get().CloseAll();
                       Get().mutex_.unlock();
                     });
      return made;
    }();
    return *all;
  }

  std::mutex& mutex() { return mutex_; }

  // The rest: REQUIRES: the mutex is held.
  void Add(UninheritedDescriptor* added) {
    added->next_ = first_;
    added->previous_ = nullptr;
    if (first_ != nullptr) first_->previous_ = added;
    first_ = added;
  }

  void Remove(UninheritedDescriptor* removed) {
    if (removed->next_ != nullptr) removed->next_->previous_ = removed->previous_;
    (removed->previous_ != nullptr ? removed->previous_->next_ : first_) = removed->next_;
    removed->next_ = removed->previous_ = nullptr;
  }

 private:
  OpenDescriptors() = default;

  void CloseAll() {
    while (first_ != nullptr) {
      close(std::exchange(first_->number_, -1));
      Remove(first_);
    }
  }

  std::mutex mutex_;
  UninheritedDescriptor* first_ = nullptr;
};

UninheritedDescriptor::UninheritedDescriptor(const std::function<int()>& open) {
  OpenDescriptors& all = OpenDescriptors::Get();
  const std::lock_guard<std::mutex> lock(all.mutex());
  number_ = open();
  if (number_ >= 0) all.Add(this);
}

UninheritedDescriptor::UninheritedDescriptor(UninheritedDescriptor&& other) noexcept {
  *this = std::move(other);
}

UninheritedDescriptor& UninheritedDescriptor::operator=(UninheritedDescriptor&& other) noexcept {
  if (this == &other) return *this;
  OpenDescriptors& all = OpenDescriptors::Get();
  const std::lock_guard<std::mutex> lock(all.mutex());
  if (number_ >= 0) {
    all.Remove(this);
    close(number_);
  }
  if (other.number_ >= 0) {
    all.Remove(&other);
    all.Add(this);
  }
  number_ = std::exchange(other.number_, -1);
  return *this;
}

UninheritedDescriptor::~UninheritedDescriptor() { Close(); }

int UninheritedDescriptor::Close() {
  OpenDescriptors& all = OpenDescriptors::Get();
  const std::lock_guard<std::mutex> lock(all.mutex());
  if (number_ < 0) return 0;
  all.Remove(this);
  return close(std::exchange(number_, -1));
}

OwnProcess::OwnProcess() : id_(getpid()) {}

bool OwnProcess::is_this() const { return id_ == getpid(); }

}  // namespace autodist
