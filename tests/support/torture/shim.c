// Stands between a process and the kernel, for the calls that change files below one directory.
//
// Once armed, the calls are trapped by a seccomp filter, which sees every way to make them (the C library's
// buffered files too), and made by a handler of SIGSYS, from the one instruction that the filter lets
// through. What the handler does besides:
//
//   count    nothing; the calls are numbered from 1
//   kill     kills the process with SIGKILL instead of making call number `at`
//   tear     makes half of that call, which must write, and kills the process
//   fail     makes that call fail with an error
//   record   writes every call, with names, inodes and bytes, into a log (see disk_model.py)
//
// Loaded by ctypes.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { kOff, kCount, kKill, kTear, kFail, kRecord };

static volatile int mode = kOff;
static long fail_at, fail_error;
static int counts_reads;
static volatile long calls;
static volatile int writes_seen[4096];  // by call number: 1 where the call writes bytes
static char names[4096][16];
static int log_fd = -1;
static char root[4096];
static size_t root_size;
static volatile int lock_word;

// The only place from which the filter lets calls through.
__asm__(
    ".text\n.type shim_raw,@function\nshim_raw:\n"
#if defined(__x86_64__)
    "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nmov %r9,%r8\n"
    "mov 8(%rsp),%r9\nsyscall\n"
    ".globl shim_raw_end\nshim_raw_end:\nret\n"
#elif defined(__aarch64__)
    "mov x8,x0\nmov x0,x1\nmov x1,x2\nmov x2,x3\nmov x3,x4\nmov x4,x5\nmov x5,x6\nsvc #0\n"
    ".globl shim_raw_end\nshim_raw_end:\nret\n"
#else
#error "unknown processor"
#endif
);
extern long shim_raw(long number, long a, long b, long c, long d, long e, long f);
extern char shim_raw_end[];

static void Lock(void) {
  while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE)) {
  }
}
static void Unlock(void) { __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE); }

// Whether what a link of /proc leads to lies below the root.
static int IsWatchedLink(const char* link) {
  char path[4096];
  const long size = shim_raw(SYS_readlinkat, AT_FDCWD, (long)link, (long)path, sizeof(path) - 1, 0, 0);
  return size >= (long)root_size && memcmp(path, root, root_size) == 0;
}

static int IsWatchedFd(int fd) {
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  return IsWatchedLink(link);
}

static int IsWatchedPath(int directory, const char* path) {
  if (path == NULL) return 0;
  if (path[0] == '/') return strncmp(path, root, root_size) == 0;
  return directory == AT_FDCWD ? IsWatchedLink("/proc/self/cwd") : IsWatchedFd(directory);
}

struct Place {
  uint64_t directory;  // inode
  uint64_t inode;      // 0: there is none
  const char* name;
};

static uint64_t InodeOf(int directory, const char* path, int flags) {
  struct stat status;
  const long result = shim_raw(SYS_newfstatat, directory, (long)path, (long)&status, flags, 0, 0);
  return result == 0 ? status.st_ino : 0;
}

static struct Place Find(int directory, const char* path) {
  char parent[4096];
  struct Place place;
  size_t size = strlen(path);
  while (size > 1 && path[size - 1] == '/') --size;
  size_t split = size;
  while (split > 0 && path[split - 1] != '/') --split;
  place.name = path + split;
  memcpy(parent, path, split);
  parent[split] = '\0';
  place.directory = InodeOf(directory, split > 0 ? parent : "", AT_EMPTY_PATH);
  place.inode = InodeOf(directory, path, AT_SYMLINK_NOFOLLOW);
  return place;
}

// One record: lengths and numbers as text in a line, then the names and bytes.
static void Record(const char* what, struct Place a, struct Place b, long offset, const void* bytes,
                   size_t size) {
  char line[256];
  const size_t a_size = a.name ? strlen(a.name) : 0, b_size = b.name ? strlen(b.name) : 0;
  const int length =
      snprintf(line, sizeof(line), "%s %lu %lu %lu %lu %ld %zu %zu %zu\n", what,
               (unsigned long)a.directory, (unsigned long)a.inode, (unsigned long)b.directory,
               (unsigned long)b.inode, offset, a_size, b_size, size);
  shim_raw(SYS_write, log_fd, (long)line, length, 0, 0, 0);
  if (a_size) shim_raw(SYS_write, log_fd, (long)a.name, a_size, 0, 0, 0);
  if (b_size) shim_raw(SYS_write, log_fd, (long)b.name, b_size, 0, 0, 0);
  for (size_t done = 0; done < size;) {
    const long wrote = shim_raw(SYS_write, log_fd, (long)bytes + done, size - done, 0, 0, 0);
    if (wrote <= 0) break;
    done += wrote;
  }
}

enum Kind { kOther, kOpen, kWrite, kSync, kMove, kLink, kUnlink, kMkdir, kSize, kClose, kCopy };

struct Call {
  enum Kind kind;
  int changes;  // whether it changes what is on disk, as closing and reading do not
  int fd;       // or the directory of `path`
  const char* path;
  int fd2;
  const char* path2;
  const char* name;
};

#define CASE(number, ...) \
  case SYS_##number:      \
    return (struct Call){__VA_ARGS__, .name = #number}

static struct Call Classify(long number, const long* a) {
  switch (number) {
    CASE(openat, kOpen, (a[2] & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0, a[0], (char*)a[1]);
    CASE(write, kWrite, 1, a[0]);
    CASE(pwrite64, kWrite, 1, a[0]);
    CASE(fsync, kSync, 1, a[0]);
    CASE(fdatasync, kSync, 1, a[0]);
    CASE(renameat, kMove, 1, a[0], (char*)a[1], a[2], (char*)a[3]);
    CASE(renameat2, kMove, 1, a[0], (char*)a[1], a[2], (char*)a[3]);
    CASE(linkat, kLink, 1, a[0], (char*)a[1], a[2], (char*)a[3]);
    CASE(unlinkat, kUnlink, 1, a[0], (char*)a[1]);
    CASE(mkdirat, kMkdir, 1, a[0], (char*)a[1]);
    CASE(ftruncate, kSize, 1, a[0]);
    CASE(fallocate, kSize, 1, a[0]);
    CASE(close, kClose, 0, a[0]);
    CASE(sendfile, kCopy, 1, a[0]);
    CASE(copy_file_range, kCopy, 1, a[2]);
#ifdef SYS_open
    CASE(open, kOpen, (a[1] & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0, AT_FDCWD, (char*)a[0]);
    CASE(creat, kOpen, 1, AT_FDCWD, (char*)a[0]);
    CASE(rename, kMove, 1, AT_FDCWD, (char*)a[0], AT_FDCWD, (char*)a[1]);
    CASE(link, kLink, 1, AT_FDCWD, (char*)a[0], AT_FDCWD, (char*)a[1]);
    CASE(unlink, kUnlink, 1, AT_FDCWD, (char*)a[0]);
    CASE(mkdir, kMkdir, 1, AT_FDCWD, (char*)a[0]);
    CASE(rmdir, kUnlink, 1, AT_FDCWD, (char*)a[0]);
#endif
  }
  return (struct Call){kOther};
}

static long Make(long number, const long* a) {
  return shim_raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void Die(void) {
  shim_raw(SYS_kill, shim_raw(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
  for (;;) {
  }
}

static long MakeAndRecord(const struct Call* call, long number, const long* a) {
  const struct Place none = {0, 0, NULL};
  struct Place first = none, second = none;
  long offset = 0;
  if (call->path) {
    first = Find(call->fd, call->path);
  } else {
    first.inode = InodeOf(call->fd, "", AT_EMPTY_PATH);
  }
  if (call->path2) second = Find(call->fd2, call->path2);
  if (call->kind == kWrite || call->kind == kCopy) {
    offset = number == SYS_pwrite64 ? a[3] : shim_raw(SYS_lseek, call->fd, 0, SEEK_CUR, 0, 0, 0);
  }
  const uint64_t before = first.inode;
  const long result = Make(number, a);
  if (result < 0) return result;
  switch (call->kind) {
    case kOpen:
      first.inode = InodeOf(result, "", AT_EMPTY_PATH);
      if (before == 0) {
        Record("create", first, none, 0, NULL, 0);
      } else if ((number == SYS_openat ? a[2] : a[1]) & O_TRUNC) {
        Record("truncate", first, none, 0, NULL, 0);
      }
      break;
    case kWrite:
      Record("write", first, none, offset, (const void*)a[1], result);
      break;
    case kCopy: {
      static char copied[1 << 20];
      const long size = result < (long)sizeof(copied) ? result : (long)sizeof(copied);
      char link[64];
      snprintf(link, sizeof(link), "/proc/self/fd/%d", call->fd);
      const long fd = shim_raw(SYS_openat, AT_FDCWD, (long)link, O_RDONLY, 0, 0, 0);
      shim_raw(SYS_pread64, fd, (long)copied, size, offset, 0, 0);
      shim_raw(SYS_close, fd, 0, 0, 0, 0, 0);
      Record("write", first, none, offset, copied, size);
      break;
    }
    case kSync:
      Record("sync", first, none, 0, NULL, 0);
      break;
    case kMove:
      Record("move", first, second, 0, NULL, 0);
      break;
    case kLink:
      Record("link", first, second, 0, NULL, 0);
      break;
    case kUnlink:
      Record("unlink", first, none, 0, NULL, 0);
      break;
    case kMkdir:
      first.inode = InodeOf(call->fd, call->path, 0);
      Record("mkdir", first, none, 0, NULL, 0);
      break;
    case kSize:
      Record("size", first, none, number == SYS_ftruncate ? a[1] : a[2] + a[3], NULL, 0);
      break;
    default:
      break;
  }
  return result;
}

static long Handle(long number, const long* a) {
  if (mode == kOff) return Make(number, a);
  const struct Call call = Classify(number, a);
  if (call.kind == kOther || (!call.changes && !counts_reads)) return Make(number, a);
  const int is_watched = call.path ? IsWatchedPath(call.fd, call.path) ||
                                         IsWatchedPath(call.fd2, call.path2)
                                   : IsWatchedFd(call.fd);
  if (!is_watched) return Make(number, a);
  Lock();
  const long mine = ++calls;
  if (mine < 4096) {
    writes_seen[mine] = call.kind == kWrite;
    strncpy(names[mine], call.name, 15);
  }
  long result;
  if (mode == kKill && mine == fail_at) Die();
  if (mode == kTear && mine == fail_at) {
    long half[6];
    memcpy(half, a, sizeof(half));
    half[2] /= 2;
    Make(number, half);
    Die();
  }
  if (mode == kFail && mine == fail_at) {
    // The kernel closes a file even where it reports an error.
    if (call.kind == kClose) Make(number, a);
    result = -fail_error;
  } else if (mode == kRecord) {
    result = MakeAndRecord(&call, number, a);
  } else {
    result = Make(number, a);
  }
  Unlock();
  return result;
}

static void OnTrap(int signal_number, siginfo_t* info, void* context) {
  (void)signal_number;
  ucontext_t* user = context;
#if defined(__x86_64__)
  greg_t* r = user->uc_mcontext.gregs;
  const long a[6] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]};
  r[REG_RAX] = Handle(info->si_syscall, a);
#else
  unsigned long long* r = user->uc_mcontext.regs;
  const long a[6] = {r[0], r[1], r[2], r[3], r[4], r[5]};
  r[0] = Handle(info->si_syscall, a);
#endif
}

// 0, or an errno where the filter cannot be installed. Once per process.
int shim_install(const char* directory) {
  root_size = strlen(directory);
  memcpy(root, directory, root_size + 1);
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = OnTrap;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  if (sigaction(SIGSYS, &action, NULL) != 0) return errno;

  static const int kTrapped[] = {
      SYS_openat,   SYS_write,   SYS_pwrite64,  SYS_fsync,     SYS_fdatasync,
      SYS_renameat, SYS_renameat2, SYS_linkat,  SYS_unlinkat,  SYS_mkdirat,
      SYS_ftruncate, SYS_fallocate, SYS_close,  SYS_sendfile,  SYS_copy_file_range,
#ifdef SYS_open
      SYS_open,     SYS_creat,   SYS_rename,    SYS_link,      SYS_unlink,
      SYS_mkdir,    SYS_rmdir,
#endif
  };
  const uint64_t allowed = (uint64_t)(uintptr_t)shim_raw_end;
  const unsigned count = sizeof(kTrapped) / sizeof(kTrapped[0]);
  struct sock_filter filter[64];
  unsigned n = 0;
  const unsigned ip = offsetof(struct seccomp_data, instruction_pointer);
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip);
  filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed, 0, 2);
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip + 4);
  filter[n++] =
      (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(allowed >> 32), count + 1, 0);
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (unsigned i = 0; i < count; ++i) {
    const unsigned to_trap = count - i;  // over the other comparisons and the `allow`
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kTrapped[i], to_trap, 0);
  }
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
  struct sock_fprog program = {n, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) return errno;
  return 0;
}

// `log` is a descriptor, only for kRecord. With `reads` the calls that change nothing count, too.
void shim_arm(int new_mode, long at, long error, int log, int reads) {
  calls = 0;
  fail_at = at;
  fail_error = error;
  log_fd = log;
  counts_reads = reads;
  mode = new_mode;
}

// Returns how many calls were counted.
long shim_disarm(void) {
  mode = kOff;
  return calls;
}

int shim_is_write(long call) { return call < 4096 ? writes_seen[call] : 0; }
const char* shim_name(long call) { return call < 4096 ? names[call] : ""; }
