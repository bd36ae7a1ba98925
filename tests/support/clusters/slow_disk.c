// Preloaded: writes of data files take long, as to a slow disk.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void pause_for(int file) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size <= 0) return;
  path[size] = 0;
  if (strstr(path, ".autodist") == NULL) return;
  const struct timespec pause = {0, 50 * 1000 * 1000};
  nanosleep(&pause, NULL);
}

typedef ssize_t (*Pwrite)(int, const void*, size_t, off_t);

ssize_t pwrite64(int file, const void* bytes, size_t size, off_t offset) {
  pause_for(file);
  return ((Pwrite)dlsym(RTLD_NEXT, "pwrite64"))(file, bytes, size, offset);
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  pause_for(file);
  return ((Pwrite)dlsym(RTLD_NEXT, "pwrite"))(file, bytes, size, offset);
}
