// A portion of a save or a restore that one thread takes: a job.
//
// *Task* is TensorFlow's word for a server of a cluster; work for a thread is a job.

#ifndef AUTODIST_THREADS_JOB_H_
#define AUTODIST_THREADS_JOB_H_

#include <cstdint>

namespace autodist {

struct Job {
  enum class Kind {
    kBatch,   // units [first, last), together no larger than a block
    kBlocks,  // unit `first`, block by block, shared by all threads
    kStream,  // tensor `first`, whose elements vary in size
  };
  Kind kind;
  int first;
  int last;
  int64_t offset;  // of its first byte in the data file
  int64_t size_bytes;
};

}  // namespace autodist

#endif  // AUTODIST_THREADS_JOB_H_
