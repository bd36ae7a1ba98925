/* System calls that a container denies: deny(name, error) installs a seccomp filter for all threads
   of this process, for good. Loaded by ctypes.

   Names: userfaultfd, process_vm_readv, fork (clone that makes no thread), pipe2, spill (an open of
   a file without a name), and the ioctls of userfaultfd. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kAlways, kHasAll, kHasNone, kEquals };

static const struct {
  const char* name;
  long number;
  int argument;        /* that is looked at */
  int test;            /* kHasAll, kHasNone: of these bits; kEquals: this number */
  unsigned int value;
} calls[] = {
    {"userfaultfd", SYS_userfaultfd, 0, kAlways, 0},
    {"process_vm_readv", SYS_process_vm_readv, 0, kAlways, 0},
    {"fork", SYS_clone, 0, kHasNone, CLONE_VM},
    {"pipe2", SYS_pipe2, 0, kAlways, 0},
    {"spill", SYS_openat, 2, kHasAll, O_TMPFILE},
    {"USERFAULTFD_IOC_NEW", SYS_ioctl, 1, kEquals, 0xAA00},
    {"UFFDIO_API", SYS_ioctl, 1, kEquals, (unsigned int)UFFDIO_API},
    {"UFFDIO_REGISTER", SYS_ioctl, 1, kEquals, (unsigned int)UFFDIO_REGISTER},
    {"UFFDIO_WRITEPROTECT", SYS_ioctl, 1, kEquals, (unsigned int)UFFDIO_WRITEPROTECT},
};

/* Returns 0, or the error. */
int deny(const char* name, int error) {
  size_t i = 0;
  while (i < sizeof(calls) / sizeof(calls[0]) && strcmp(calls[i].name, name) != 0) ++i;
  if (i == sizeof(calls) / sizeof(calls[0])) return EINVAL;
  const unsigned int low_half = offsetof(struct seccomp_data, args) + 8 * calls[i].argument;
  const unsigned int mask = calls[i].test == kAlways ? 0
                            : calls[i].test == kEquals ? ~0U
                                                       : calls[i].value;
  const unsigned int wanted =
      calls[i].test == kHasAll || calls[i].test == kEquals ? calls[i].value : 0;
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)calls[i].number, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_half),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wanted, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned int)error & SECCOMP_RET_DATA)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  const long made =
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
  return made == 0 ? 0 : made > 0 ? EBUSY : errno;
}
