/* For LD_PRELOAD in a server of a cluster: kills or stops the process when it sends or receives a certain message of a
 * save of one instant (cc/barrier/messages.h).
 *
 * BARRIER_FAULT: a number of MessageKind and "s", when it sends that, or "r", when it has received it; then "k" for
 * SIGKILL or "s" for SIGSTOP; then for the how many-th time: "6sk2" kills it instead of sending the second GO.
 * BARRIER_FLAG: a file that must exist. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void strike(const void* bytes, ssize_t size, char direction) {
  const char* fault = getenv("BARRIER_FAULT");
  const char* flag = getenv("BARRIER_FLAG");
  const unsigned char* message = bytes;
  if (fault == NULL || flag == NULL || access(flag, F_OK) != 0) return;
  const int kind = atoi(fault);
  const char* rest = fault + strspn(fault, "0123456789");
  /* The size of the rest of a message is small; its kind follows. */
  if (size < 17 || message[1] > 15 || message[2] != 0 || message[3] != 0 || message[4] != kind) return;
  static int count = 0;
  if (rest[0] != direction || ++count != atoi(rest + 2)) return;
  kill(getpid(), rest[1] == 'k' ? SIGKILL : SIGSTOP);
}

ssize_t send(int socket, const void* bytes, size_t size, int flags) {
  static ssize_t (*next)(int, const void*, size_t, int);
  if (next == NULL) next = (ssize_t (*)(int, const void*, size_t, int))dlsym(RTLD_NEXT, "send");
  strike(bytes, (ssize_t)size, 's');
  return next(socket, bytes, size, flags);
}

ssize_t recv(int socket, void* bytes, size_t size, int flags) {
  static ssize_t (*next)(int, void*, size_t, int);
  if (next == NULL) next = (ssize_t (*)(int, void*, size_t, int))dlsym(RTLD_NEXT, "recv");
  const ssize_t got = next(socket, bytes, size, flags);
  if (got > 0) strike(bytes, got, 'r');
  return got;
}
