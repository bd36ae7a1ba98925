// Types are those of linux/magic.h, and of the file systems' own sources.

#include "storage/directory/file_systems.h"

#include <cstdio>

namespace autodist {
namespace {

struct Known {
  int64_t type;
  const char* name;
  FileSystemKind kind;
};

constexpr Known kKnown[] = {
    {0xEF53, "ext2/ext3/ext4", FileSystemKind::kOneMachine},
    {0x58465342, "xfs", FileSystemKind::kOneMachine},
    {0x9123683E, "btrfs", FileSystemKind::kOneMachine},
    {0x01021994, "tmpfs", FileSystemKind::kOneMachine},
    {0x858458F6, "ramfs", FileSystemKind::kOneMachine},
    {0x794C7630, "overlayfs", FileSystemKind::kOneMachine},
    {0xF2F52010, "f2fs", FileSystemKind::kOneMachine},
    {0x2FC12FC1, "zfs", FileSystemKind::kOneMachine},
    {0xCA451A4E, "bcachefs", FileSystemKind::kOneMachine},
    {0x3153464A, "jfs", FileSystemKind::kOneMachine},
    {0x52654973, "reiserfs", FileSystemKind::kOneMachine},
    {0x3434, "nilfs", FileSystemKind::kOneMachine},
    {0x4D44, "vfat", FileSystemKind::kOneMachine},
    {0x2011BAB0, "exfat", FileSystemKind::kOneMachine},
    {0x0BD00BD0, "Lustre", FileSystemKind::kCoherent},
    {0x47504653, "GPFS", FileSystemKind::kCoherent},
    {0x00C36400, "CephFS", FileSystemKind::kCoherent},
    {0x19830326, "BeeGFS", FileSystemKind::kCoherent},
    {0x01161970, "GFS2", FileSystemKind::kCoherent},
    {0x7461636F, "OCFS2", FileSystemKind::kCoherent},
    {0x6969, "NFS", FileSystemKind::kOther},
    {0x65735546, "FUSE", FileSystemKind::kOther},
    {0xFF534D42, "CIFS", FileSystemKind::kOther},
    {0xFE534D42, "SMB", FileSystemKind::kOther},
    {0x517B, "SMB", FileSystemKind::kOther},
    {0x01021997, "9p", FileSystemKind::kOther},
    {0x5346414F, "AFS", FileSystemKind::kOther},
    {0x6B414653, "AFS", FileSystemKind::kOther},
    {0x73757245, "Coda", FileSystemKind::kOther},
    {0x20030528, "OrangeFS", FileSystemKind::kOther},
    {0xAAD7AAEA, "PanFS", FileSystemKind::kOther},
};

const Known* Find(int64_t type) {
  for (const Known& known : kKnown) {
    if (known.type == type) return &known;
  }
  return nullptr;
}

}  // namespace

FileSystemKind KindOfFileSystem(int64_t type) {
  const Known* const known = Find(type);
  return known == nullptr ? FileSystemKind::kOther : known->kind;
}

std::string NameOfFileSystem(int64_t type) {
  const Known* const known = Find(type);
  if (known != nullptr) return known->name;
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%llx", static_cast<unsigned long long>(type));
  return std::string("a file system of the unknown type 0x") + digits;
}

}  // namespace autodist
