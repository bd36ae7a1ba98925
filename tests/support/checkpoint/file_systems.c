/* File systems as users have them, below the directory FS_DIR of a process that has this preloaded.

   FS_APPEND=errno     takes bytes at the end of a file only; else this error
   FS_APPEND_AFTER=n   begins to do so after so many writes, and takes bytes at the start all the same
   FS_SYNC_DIR=errno   cannot sync directories
   FS_NO_LINK          has no hard links
   FS_NO_REPLACE       does not rename over a file
   FS_NAME_MAX=n       has names of at most n bytes
   FS_CALL, FS_ERRNO   a call that always fails, by its name without numbers and "at", and its error; "read" of data
                       files alone

   All are looked up at each call, so that a program can change them. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(result, name, ...)            \
  static result (*real)(__VA_ARGS__);      \
  if (!real) real = dlsym(RTLD_NEXT, #name)

static int fail(int error) {
  errno = error;
  return -1;
}

static int number(const char* name) {
  const char* value = getenv(name);
  return value ? atoi(value) : 0;
}

/* The path of a descriptor, in memory of the thread's own; "" if it has none. */
static const char* path_of(int fd) {
  static __thread char found[4096];
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, found, sizeof(found) - 1);
  found[size > 0 ? size : 0] = 0;
  return found;
}

static int is_below(int directory, const char* path) {
  const char* root = getenv("FS_DIR");
  if (!root) return 0;
  if (path && (path[0] == '/' || directory == AT_FDCWD)) {
    return strncmp(path, root, strlen(root)) == 0;
  }
  return strncmp(path_of(directory), root, strlen(root)) == 0;
}

static int fails(const char* call) {
  const char* failing = getenv("FS_CALL");
  return failing && strcmp(failing, call) == 0 ? number("FS_ERRNO") : 0;
}

static int is_too_long(const char* path) {
  const char* slash = strrchr(path, '/');
  const int most = number("FS_NAME_MAX");
  return most && strlen(slash ? slash + 1 : path) > (size_t)most;
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  REAL(ssize_t, pwrite64, int, const void*, size_t, off64_t);
  if (is_below(fd, NULL)) {
    struct stat status;
    if (fails("write")) return fail(fails("write"));
    static int writes = 0;
    if (number("FS_APPEND") &&
        __atomic_add_fetch(&writes, 1, __ATOMIC_RELAXED) > number("FS_APPEND_AFTER") &&
        (offset != 0 || number("FS_APPEND_AFTER") == 0) &&
        fstat(fd, &status) == 0 && offset != status.st_size) {
      return fail(number("FS_APPEND"));
    }
  }
  return real(fd, bytes, size, offset);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return pwrite64(fd, bytes, size, offset);
}

ssize_t pread64(int fd, void* bytes, size_t size, off64_t offset) {
  REAL(ssize_t, pread64, int, void*, size_t, off64_t);
  return fails("read") && is_below(fd, NULL) && strstr(path_of(fd), ".data-")
             ? fail(fails("read"))
             : real(fd, bytes, size, offset);
}
ssize_t pread(int fd, void* bytes, size_t size, off_t offset) {
  return pread64(fd, bytes, size, offset);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  REAL(ssize_t, write, int, const void*, size_t);
  return fails("write") && is_below(fd, NULL) ? fail(fails("write")) : real(fd, bytes, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  REAL(int, fallocate64, int, int, off64_t, off64_t);
  return number("FS_APPEND") && is_below(fd, NULL) ? fail(EOPNOTSUPP)
                                                   : real(fd, mode, offset, size);
}
int fallocate(int fd, int mode, off_t offset, off_t size) {
  return fallocate64(fd, mode, offset, size);
}

int fsync(int fd) {
  REAL(int, fsync, int);
  struct stat status;
  if (is_below(fd, NULL)) {
    if (fails("fsync")) return fail(fails("fsync"));
    if (number("FS_SYNC_DIR") && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
      return fail(number("FS_SYNC_DIR"));
    }
  }
  return real(fd);
}

int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) {
  REAL(int, linkat, int, const char*, int, const char*, int);
  return getenv("FS_NO_LINK") && is_below(from_directory, from)
             ? fail(EPERM)
             : real(from_directory, from, to_directory, to, flags);
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  REAL(int, renameat, int, const char*, int, const char*);
  if (is_below(to_directory, to)) {
    if (fails("rename")) return fail(fails("rename"));
    if (is_too_long(to)) return fail(ENAMETOOLONG);
    if (getenv("FS_NO_REPLACE") && faccessat(to_directory, to, F_OK, 0) == 0) return fail(EEXIST);
  }
  return real(from_directory, from, to_directory, to);
}
int rename(const char* from, const char* to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int openat64(int directory, const char* path, int flags, ...) {
  REAL(int, openat64, int, const char*, int, ...);
  va_list arguments;
  va_start(arguments, flags);
  const int mode = va_arg(arguments, int);
  va_end(arguments);
  if ((flags & O_CREAT) && is_below(directory, path)) {
    if (fails("open")) return fail(fails("open"));
    if (is_too_long(path)) return fail(ENAMETOOLONG);
  }
  return real(directory, path, flags, mode);
}
int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const int mode = va_arg(arguments, int);
  va_end(arguments);
  return openat64(directory, path, flags, mode);
}

FILE* fopen64(const char* path, const char* mode) {
  REAL(FILE*, fopen64, const char*, const char*);
  if (is_below(AT_FDCWD, path) && mode[0] != 'r') {
    if (fails("fopen")) return fail(fails("fopen")), NULL;
    if (is_too_long(path)) return fail(ENAMETOOLONG), NULL;
  }
  return real(path, mode);
}
FILE* fopen(const char* path, const char* mode) { return fopen64(path, mode); }
