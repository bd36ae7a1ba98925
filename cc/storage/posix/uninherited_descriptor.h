// A file descriptor that a forked child does not keep.
//
// A lock (flock) belongs to the open file, which a child shares. So a child would hold its parent's
// lock for as long as it lives, and the blocks of a file that was removed meanwhile. O_CLOEXEC
// helps only children that exec. So fork() closes these descriptors in the child, by
// pthread_atfork. There the objects have no descriptor any more, and their calls fail. Children
// made by vfork() or a bare clone(), which run no such handlers, exec at once.
//
// Locks that a child does not inherit (fcntl's F_SETLK) are no way out: the first descriptor of the
// file that any thread closes ends them. Those of open file descriptions (F_OFD_SETLK) descend as
// flock's do.

#ifndef AUTODIST_STORAGE_POSIX_UNINHERITED_DESCRIPTOR_H_
#define AUTODIST_STORAGE_POSIX_UNINHERITED_DESCRIPTOR_H_

#include <functional>

namespace autodist {

// Owns a descriptor; negative when there is none. One object is used by one thread at a time.
class UninheritedDescriptor {
 public:
  UninheritedDescriptor() = default;
  // Calls `open`, which returns a descriptor, or a negative number with errno; no fork comes
  // between it and the ownership. It does not block.
  explicit UninheritedDescriptor(const std::function<int()>& open);
  UninheritedDescriptor(UninheritedDescriptor&& other) noexcept;
  UninheritedDescriptor& operator=(UninheritedDescriptor&& other) noexcept;
  ~UninheritedDescriptor();

  // Negative also in a child.
  int get() const { return number_; }

  // Closes it, once. Returns what close() does.
  int Close();

 private:
  friend class OpenDescriptors;

  int number_ = -1;
  // All of this process, in a ring.
  UninheritedDescriptor* previous_ = nullptr;
  UninheritedDescriptor* next_ = nullptr;
};

// Tells a process from its children: what one made is not a forked child's to remove.
class OwnProcess {
 public:
  OwnProcess();
  bool is_this() const;

 private:
  int id_;
};

}  // namespace autodist

#endif  // AUTODIST_STORAGE_POSIX_UNINHERITED_DESCRIPTOR_H_
