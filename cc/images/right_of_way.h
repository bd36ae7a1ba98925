// Who goes first where a save has fewer processors than threads.
//
// A training step waits for each handler of an image (protected_image.h) that copies a part of the
// memory. Nobody waits for a reader. So a reader gives way: before it reads, it waits until no
// handler copies, and has not for a moment. Readers together give way for at most eight times as
// long as the copies took, and each part of the memory is copied once at most.

#ifndef AUTODIST_IMAGES_RIGHT_OF_WAY_H_
#define AUTODIST_IMAGES_RIGHT_OF_WAY_H_

#include <atomic>
#include <cstdint>

namespace autodist {

// Thread-safe.
class RightOfWay {
 public:
  // Lives while a handler copies.
  class Taken {
   public:
    explicit Taken(RightOfWay* way);
    ~Taken();
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

   private:
    RightOfWay& way_;
    const int64_t begin_;
  };

  // Waits until handlers have not copied for as long as the last of them did. Returns at the latest
  // after 0.1 s.
  void Give();

 private:
  std::atomic<int> working_{0};
  std::atomic<int64_t> clear_at_{0};  // by a steady clock, in ns
  std::atomic<int64_t> worked_{0};    // ns of all handlers
  std::atomic<int64_t> given_{0};     // ns of all readers
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_RIGHT_OF_WAY_H_
