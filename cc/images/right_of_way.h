// Who goes first where a save has fewer processors than threads.
//
// A training step waits for each handler of an image (protected_image.h). Nobody waits for a
// reader. So a reader gives way: before it reads, it waits until no handler works, and has not for
// a moment. Each part of the memory is handled once at most, so readers give way for not much
// longer than it takes to copy the memory once.

#ifndef AUTODIST_IMAGES_RIGHT_OF_WAY_H_
#define AUTODIST_IMAGES_RIGHT_OF_WAY_H_

#include <atomic>
#include <cstdint>

namespace autodist {

// Thread-safe.
class RightOfWay {
 public:
  // Lives while a handler works.
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

  // Waits until handlers have not worked for as long as the last of them did. Returns at the latest
  // after 0.1 s.
  void Give() const;

 private:
  std::atomic<int> working_{0};
  std::atomic<int64_t> clear_at_{0};  // by a steady clock, in ns
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_RIGHT_OF_WAY_H_
