// Preloaded: writes of data files take long, as to a slow disk: each SLOW_WRITE_MILLISECONDS, or 50.
// Reads of data files take SLOW_READ_MILLISECONDS, or no time.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void pause_for(int file, const char* sort, const char* setting, long milliseconds) {
  char link[64], path[4096];
  const char* const value = getenv(setting);
  if (value != NULL) milliseconds = atol(value);
  if (milliseconds == 0) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size <= 0) return;
  path[size] = 0;
  if (strstr(path, sort) == NULL) return;
  const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000 * 1000};
  nanosleep(&pause, NULL);
}

typedef ssize_t (*Pwrite)(int, const void*, size_t, off_t);
typedef ssize_t (*Pread)(int, void*, size_t, off_t);

static void pause_for_write(int file) { pause_for(file, ".autodist", "SLOW_WRITE_MILLISECONDS", 50); }
static void pause_for_read(int file) { pause_for(file, ".data-", "SLOW_READ_MILLISECONDS", 0); }

ssize_t pwrite64(int file, const void* bytes, size_t size, off_t offset) {
  pause_for_write(file);
  return ((Pwrite)dlsym(RTLD_NEXT, "pwrite64"))(file, bytes, size, offset);
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  pause_for_write(file);
  return ((Pwrite)dlsym(RTLD_NEXT, "pwrite"))(file, bytes, size, offset);
}

ssize_t pread64(int file, void* bytes, size_t size, off_t offset) {
  pause_for_read(file);
  return ((Pread)dlsym(RTLD_NEXT, "pread64"))(file, bytes, size, offset);
}

ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
  pause_for_read(file);
  return ((Pread)dlsym(RTLD_NEXT, "pread"))(file, bytes, size, offset);
}
