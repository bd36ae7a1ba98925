// Python threads that are in C++ code while the interpreter ends. Called by
// python/autodist/_native.py, through cc/python/runtime_module.cc.
//
// A Python thread that needs the interpreter after it has begun to end is itself ended. Up to
// Python 3.13 that is done by pthread_exit, which unwinds the thread's stack. Where the unwinding
// meets a C++ function that must not throw, the process aborts. Such a function is the destructor
// of pybind11::gil_scoped_release, which takes the interpreter's lock again. TensorFlow has it
// around ExtendSession, and each run of a session begins with that. From Python 3.14 on the thread
// waits for the end of the process instead.

#ifndef AUTODIST_OPS_ENDING_THREADS_H_
#define AUTODIST_OPS_ENDING_THREADS_H_

namespace autodist {

// Makes a thread for which the process would abort wait for the end of the process, as Python 3.14
// does. All other calls of std::terminate do what they did. Call it when the interpreter is about
// to end. A second call does nothing.
void HoldEndingThreads();

}  // namespace autodist

#endif  // AUTODIST_OPS_ENDING_THREADS_H_
