// One client of a network file system that caches pages: mounts a directory at another path through
// FUSE with the writeback cache. The kernel keeps pages and the size of a file for each mount by
// itself, so that two mounts of one directory are like two machines that mount it.
//
//   writeback_client DIRECTORY MOUNT_POINT SECONDS
//
// For SECONDS names and attributes, also that there is no file of a name, are believed without
// asking again. Serves until it is unmounted or its parent ends; says "mounted" first.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_WRITE = 1 << 20, REQUEST_BYTES = MAX_WRITE + (1 << 16) };

// A file or directory that the kernel knows, by a descriptor that renames do not change.
struct node {
  int descriptor;
  dev_t device;
  ino_t inode;
  uint64_t lookups;
  struct node* next;
};

static int connection;
static struct node root;
static uint64_t believed_seconds;

static struct node* node_of(uint64_t id) {
  return id == FUSE_ROOT_ID ? &root : (struct node*)(uintptr_t)id;
}

// The path of an open descriptor, for calls that take none.
static const char* path_of(const struct node* node) {
  static char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", node->descriptor);
  return path;
}

static void reply(uint64_t request, int error, const void* data, size_t size) {
  if (error != 0) size = 0;
  struct fuse_out_header header = {sizeof header + size, -error, request};
  struct iovec parts[2] = {{&header, sizeof header}, {(void*)data, size}};
  // A request that was interrupted is gone: nobody waits for the answer.
  if (writev(connection, parts, size == 0 ? 1 : 2) < 0 && errno != ENOENT) perror("reply");
}

static void set_attributes(const struct stat* status, struct fuse_attr* out) {
  *out = (struct fuse_attr){
      .ino = status->st_ino,
      .size = status->st_size,
      .blocks = status->st_blocks,
      .atime = status->st_atim.tv_sec,
      .mtime = status->st_mtim.tv_sec,
      .ctime = status->st_ctim.tv_sec,
      .atimensec = status->st_atim.tv_nsec,
      .mtimensec = status->st_mtim.tv_nsec,
      .ctimensec = status->st_ctim.tv_nsec,
      .mode = status->st_mode,
      .nlink = status->st_nlink,
      .uid = status->st_uid,
      .gid = status->st_gid,
      .blksize = status->st_blksize,
  };
}

// Finds or makes the node of a name; an errno value.
static int look_up(const struct node* parent, const char* name, struct fuse_entry_out* out) {
  memset(out, 0, sizeof *out);
  const int descriptor = openat(parent->descriptor, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  struct stat status;
  if (descriptor < 0) return errno;
  if (fstat(descriptor, &status) != 0) return errno;
  struct node* node = root.next;
  while (node && (node->inode != status.st_ino || node->device != status.st_dev)) node = node->next;
  if (node) {
    close(descriptor);
  } else {
    node = malloc(sizeof *node);
    *node = (struct node){descriptor, status.st_dev, status.st_ino, 0, root.next};
    root.next = node;
  }
  ++node->lookups;
  out->nodeid = (uintptr_t)node;
  out->entry_valid = out->attr_valid = believed_seconds;
  set_attributes(&status, &out->attr);
  return 0;
}

static void forget(uint64_t id, uint64_t lookups) {
  struct node* const node = node_of(id);
  if (node == &root || (node->lookups -= lookups) > 0) return;
  struct node* before = &root;
  while (before->next != node) before = before->next;
  before->next = node->next;
  close(node->descriptor);
  free(node);
}

static int get_attributes(const struct node* node, struct fuse_attr_out* out) {
  struct stat status;
  memset(out, 0, sizeof *out);
  if (fstatat(node->descriptor, "", &status, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
    return errno;
  out->attr_valid = believed_seconds;
  set_attributes(&status, &out->attr);
  return 0;
}

static int change_attributes(const struct node* node, const struct fuse_setattr_in* in) {
  if ((in->valid & FATTR_MODE) && chmod(path_of(node), in->mode & 07777) != 0) return errno;
  if ((in->valid & FATTR_SIZE) && truncate(path_of(node), (off_t)in->size) != 0) return errno;
  if (in->valid & (FATTR_ATIME | FATTR_MTIME)) {
    struct timespec times[2] = {{in->atime, in->atimensec}, {in->mtime, in->mtimensec}};
    if (in->valid & FATTR_ATIME_NOW) times[0].tv_nsec = UTIME_NOW;
    if (in->valid & FATTR_MTIME_NOW) times[1].tv_nsec = UTIME_NOW;
    if (!(in->valid & FATTR_ATIME)) times[0].tv_nsec = UTIME_OMIT;
    if (!(in->valid & FATTR_MTIME)) times[1].tv_nsec = UTIME_OMIT;
    if (utimensat(AT_FDCWD, path_of(node), times, 0) != 0) return errno;
  }
  return 0;
}

// Fills `out` with entries of a directory from `offset` on; how many bytes.
static size_t list(DIR* stream, off_t offset, char* out, size_t limit) {
  size_t size = 0;
  seekdir(stream, offset);
  for (struct dirent* entry; (entry = readdir(stream)) != NULL;) {
    const size_t length = strlen(entry->d_name);
    const size_t padded = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
    if (size + padded > limit) break;
    struct fuse_dirent* const item = (struct fuse_dirent*)(out + size);
    *item = (struct fuse_dirent){entry->d_ino, entry->d_off, length, entry->d_type};
    memcpy(item->name, entry->d_name, length);
    memset(item->name + length, 0, padded - FUSE_NAME_OFFSET - length);
    size += padded;
  }
  return size;
}

static int move(const struct node* from, uint64_t to, const char* names) {
  const char* const second = names + strlen(names) + 1;
  return renameat(from->descriptor, names, node_of(to)->descriptor, second) == 0 ? 0 : errno;
}

static void answer(const struct fuse_in_header* in, char* argument) {
  static char data[MAX_WRITE];
  struct node* const node = node_of(in->nodeid);
  const uint64_t id = in->unique;
  int error = 0;
  switch (in->opcode) {
    case FUSE_INIT: {
      const struct fuse_init_in* const init = (void*)argument;
      struct fuse_init_out out = {
          .major = FUSE_KERNEL_VERSION,
          .minor = FUSE_KERNEL_MINOR_VERSION,
          .max_readahead = init->max_readahead,
          .flags = init->flags & (FUSE_WRITEBACK_CACHE | FUSE_BIG_WRITES | FUSE_MAX_PAGES),
          .max_background = 16,
          .congestion_threshold = 12,
          .max_write = MAX_WRITE,
          .time_gran = 1,
          .max_pages = MAX_WRITE / 4096,
      };
      return reply(id, 0, &out, sizeof out);
    }
    case FUSE_LOOKUP: {
      struct fuse_entry_out out;
      error = look_up(node, argument, &out);
      if (error == ENOENT && believed_seconds > 0) {
        out.entry_valid = believed_seconds;
        error = 0;
      }
      return reply(id, error, &out, sizeof out);
    }
    case FUSE_FORGET:
      return forget(in->nodeid, ((struct fuse_forget_in*)argument)->nlookup);
    case FUSE_BATCH_FORGET: {
      const struct fuse_batch_forget_in* const batch = (void*)argument;
      const struct fuse_forget_one* const each = (void*)(batch + 1);
      for (uint32_t i = 0; i < batch->count; ++i) forget(each[i].nodeid, each[i].nlookup);
      return;
    }
    case FUSE_INTERRUPT:
      return;
    case FUSE_GETATTR: {
      struct fuse_attr_out out;
      error = get_attributes(node, &out);
      return reply(id, error, &out, sizeof out);
    }
    case FUSE_SETATTR: {
      struct fuse_attr_out out;
      error = change_attributes(node, (void*)argument);
      if (error == 0) error = get_attributes(node, &out);
      return reply(id, error, &out, sizeof out);
    }
    case FUSE_CREATE: {
      const struct fuse_create_in* const create = (void*)argument;
      const char* const name = (char*)(create + 1);
      struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
      } out = {0};
      const int flags = O_CREAT | O_RDWR | O_CLOEXEC | (create->flags & (O_EXCL | O_TRUNC));
      const int file = openat(node->descriptor, name, flags, create->mode);
      error = file < 0 ? errno : look_up(node, name, &out.entry);
      out.open.fh = file;
      return reply(id, error, &out, sizeof out);
    }
    case FUSE_OPEN: {
      const struct fuse_open_in* const open_in = (void*)argument;
      // Also to write: the kernel reads the rest of a page of which a part is written.
      int file = open(path_of(node), O_RDWR | O_CLOEXEC | (open_in->flags & O_TRUNC));
      if (file < 0) file = open(path_of(node), O_RDONLY | O_CLOEXEC);
      const struct fuse_open_out out = {.fh = file};
      return reply(id, file < 0 ? errno : 0, &out, sizeof out);
    }
    case FUSE_READ: {
      const struct fuse_read_in* const read_in = (void*)argument;
      const ssize_t size = pread(read_in->fh, data, read_in->size, read_in->offset);
      return reply(id, size < 0 ? errno : 0, data, size < 0 ? 0 : size);
    }
    case FUSE_WRITE: {
      const struct fuse_write_in* const write_in = (void*)argument;
      const ssize_t size = pwrite(write_in->fh, write_in + 1, write_in->size, write_in->offset);
      const struct fuse_write_out out = {.size = size < 0 ? 0 : size};
      return reply(id, size < 0 ? errno : 0, &out, sizeof out);
    }
    case FUSE_RELEASE:
      close(((struct fuse_release_in*)argument)->fh);
      break;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_FLUSH:
      break;
    case FUSE_OPENDIR: {
      DIR* const stream = opendir(path_of(node));
      const struct fuse_open_out out = {.fh = (uintptr_t)stream};
      return reply(id, stream == NULL ? errno : 0, &out, sizeof out);
    }
    case FUSE_READDIR: {
      const struct fuse_read_in* const read_in = (void*)argument;
      DIR* const stream = (DIR*)(uintptr_t)read_in->fh;
      return reply(id, 0, data, list(stream, (off_t)read_in->offset, data, read_in->size));
    }
    case FUSE_RELEASEDIR:
      closedir((DIR*)(uintptr_t)((struct fuse_release_in*)argument)->fh);
      break;
    case FUSE_MKDIR: {
      const struct fuse_mkdir_in* const mkdir_in = (void*)argument;
      const char* const name = (char*)(mkdir_in + 1);
      struct fuse_entry_out out;
      error = mkdirat(node->descriptor, name, mkdir_in->mode) != 0 ? errno : 0;
      if (error == 0) error = look_up(node, name, &out);
      return reply(id, error, &out, sizeof out);
    }
    case FUSE_UNLINK:
      error = unlinkat(node->descriptor, argument, 0) != 0 ? errno : 0;
      break;
    case FUSE_RMDIR:
      error = unlinkat(node->descriptor, argument, AT_REMOVEDIR) != 0 ? errno : 0;
      break;
    case FUSE_LINK: {
      const struct fuse_link_in* const link_in = (void*)argument;
      const char* const name = (char*)(link_in + 1);
      const char* const from = path_of(node_of(link_in->oldnodeid));
      struct fuse_entry_out out;
      error = linkat(AT_FDCWD, from, node->descriptor, name, AT_SYMLINK_FOLLOW) != 0 ? errno : 0;
      if (error == 0) error = look_up(node, name, &out);
      return reply(id, error, &out, sizeof out);
    }
    case FUSE_RENAME: {
      const struct fuse_rename_in* const rename_in = (void*)argument;
      error = move(node, rename_in->newdir, (char*)(rename_in + 1));
      break;
    }
    case FUSE_RENAME2: {
      const struct fuse_rename2_in* const rename_in = (void*)argument;
      error =
          rename_in->flags != 0 ? EINVAL : move(node, rename_in->newdir, (char*)(rename_in + 1));
      break;
    }
    case FUSE_STATFS: {
      struct statvfs status;
      error = fstatvfs(root.descriptor, &status) != 0 ? errno : 0;
      const struct fuse_statfs_out out = {.st = {.blocks = status.f_blocks,
                                                 .bfree = status.f_bfree,
                                                 .bavail = status.f_bavail,
                                                 .bsize = status.f_bsize,
                                                 .frsize = status.f_frsize,
                                                 .namelen = 255}};
      return reply(id, error, &out, sizeof out);
    }
    default:
      error = ENOSYS;
  }
  reply(id, error, NULL, 0);
}

int main(int count, char** arguments) {
  if (count != 4) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  believed_seconds = strtoull(arguments[3], NULL, 10);
  root.descriptor = open(arguments[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
  connection = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  char options[128];
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
           connection);
  if (root.descriptor < 0 || connection < 0 ||
      mount("writeback", arguments[2], "fuse.writeback", MS_NODEV | MS_NOSUID, options) != 0) {
    perror(arguments[2]);
    return 1;
  }
  puts("mounted");
  fflush(stdout);
  char* const request = aligned_alloc(4096, REQUEST_BYTES);
  while (1) {
    const ssize_t size = read(connection, request, REQUEST_BYTES);
    if (size < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
    if (size < (ssize_t)sizeof(struct fuse_in_header)) return 0;
    const struct fuse_in_header* const header = (void*)request;
    if (header->opcode == FUSE_DESTROY) return 0;
    answer(header, request + sizeof *header);
  }
}
