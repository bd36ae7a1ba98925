// `autodist._runtime`: what Python calls of the op library besides its ops.
//
// It is linked with the op library, so that both have one list of report slots and one of locks.
// Load that library by tf.load_op_library before you import this module: TensorFlow makes the
// Python functions of the ops that a library registers while it loads it.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "ops/ending_threads.h"
#include "python/released_gil.h"
#include "python/status_exceptions.h"
#include "save/commit/staged_bundle.h"
#include "sessions/report_slots.h"
#include "storage/directory/prefix_lock.h"
#include "storage/directory/save_directory.h"
#include "storage/directory/staged_file.h"
#include "storage/final_status.h"
#include "storage/posix/posix_io.h"
#include "threads/guarded.h"

namespace py = pybind11;

namespace autodist {
namespace {

// Calls `function` without the interpreter's lock. What it returns or throws becomes an exception
// of TensorFlow.
template <typename Function>
void Run(const Function& function) {
  const absl::Status status = [&] {
    const ReleasedGil released;
    const FileSizeErrors file_size_errors;
    return Guarded(function);
  }();
  Check(FinalStatus(status));
}

// A file that gets its name by Commit(). Destroying it removes the file unless it has its name.
class NewNamedFile {
 public:
  void Stage(const std::string& path, const py::bytes& contents, bool durable) {
    const std::string_view bytes(contents);
    Run([&] { return StageBytes(path, absl::string_view(bytes.data(), bytes.size()), durable); });
  }

  void Commit() {
    Run([&]() -> absl::Status {
      if (staged_ == nullptr) return absl::FailedPreconditionError("no file is staged");
      const absl::Status status = staged_->MoveTo(name_);
      is_moved_ = staged_->is_moved();
      staged_.reset();
      return status;
    });
  }

  void Discard() {
    Run([&] {
      staged_.reset();
      return absl::OkStatus();
    });
  }

  bool is_moved() const { return is_moved_; }

 private:
  absl::Status StageBytes(const std::string& path, absl::string_view bytes, bool durable) {
    name_ = SplitPath(path).name;
    if (name_.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("'", path, "' is not the path of a file"));
    }
    absl::StatusOr<std::unique_ptr<SaveDirectory>> directory = SaveDirectory::OpenParent(path);
    if (!directory.ok()) return directory.status();
    directory_ = *std::move(directory);
    auto staged = std::make_unique<StagedFile>(directory_.get(), durable);
    absl::Status status = staged->Create(name_);
    if (status.ok()) status = staged->file().WriteAt(0, bytes);
    if (status.ok()) status = staged->Finish();
    if (status.ok()) staged_ = std::move(staged);
    return status;
  }

  std::string name_;
  std::unique_ptr<SaveDirectory> directory_;  // outlives staged_
  std::unique_ptr<StagedFile> staged_;
  bool is_moved_ = false;
};

class NamedLock {
 public:
  bool Acquire(const std::string& prefix, bool durable) {
    Run([&] {
      auto held = PrefixLock::Acquire(prefix, durable);
      if (held.ok()) held_ = *std::move(held);
      return held.status();
    });
    return held_->excludes_processes();
  }

  void Release() {
    Run([&] {
      held_.reset();
      return absl::OkStatus();
    });
  }

 private:
  std::unique_ptr<PrefixLock> held_;
};

class NewBundle {
 public:
  void Stage(const std::string& prefix, bool durable) {
    Run([&] {
      auto staged = StagedBundle::Create(prefix, durable);
      if (staged.ok()) staged_ = *std::move(staged);
      return staged.status();
    });
    staged_prefix_ = staged_->prefix();
  }

  void Commit() {
    Run([&] {
      return staged_ == nullptr ? absl::FailedPreconditionError("no bundle is staged")
                                : staged_->Commit();
    });
  }

  void Discard() {
    Run([&] {
      staged_.reset();
      return absl::OkStatus();
    });
  }

  py::bytes staged_prefix() const { return staged_prefix_; }

 private:
  std::unique_ptr<StagedBundle> staged_;
  std::string staged_prefix_;
};

// A slot for one save or restore, which ends with this object.
class NewReportSlot {
 public:
  NewReportSlot(bool is_save, std::vector<std::string> paths,
                const std::optional<InstantOptions>& instant, bool wants_figures)
      : slot_(ReportSlot::Open(is_save ? ReportSlot::Kind::kSave : ReportSlot::Kind::kRestore,
                               std::move(paths), instant, wants_figures)) {}
  ~NewReportSlot() { Close(); }
  NewReportSlot(const NewReportSlot&) = delete;
  NewReportSlot& operator=(const NewReportSlot&) = delete;

  void AddPath(const std::string& path) { slot_->AddPath(path); }
  void Close() { slot_->Close(); }
  void NoteTaken() { slot_->NoteTaken(); }
  void Cancel() { slot_->Cancel(); }
  void OutliveSession() { slot_->OutliveSession(); }

  bool WaitUntilTaken(double seconds) const {
    const ReleasedGil released;
    return slot_->WaitUntilTaken(seconds);
  }

  void WaitUntilIdle() const {
    const ReleasedGil released;
    slot_->WaitUntilIdle();
  }

  py::tuple Bytes() const {
    const ReportSlot::Bytes bytes = slot_->bytes();
    return py::make_tuple(bytes.done, bytes.total);
  }

  py::object TakeReport() const {
    const std::optional<Report> report = slot_->TakeReport();
    if (!report) return py::none();
    py::dict fields;
    fields["byte_count"] = report->bytes;
    fields["seconds"] = report->seconds;
    fields["max_lock_seconds"] = report->max_lock_seconds;
    fields["variable_count"] = report->variable_count;
    fields["shard_count"] = report->shard_count;
    fields["value_count"] = report->value_count;
    fields["instant_method"] = report->instant_method;
    fields["refused_methods"] = report->refused_methods;
    fields["other_values"] = report->other_values;
    fields["figures"] = py::bytes(report->figures);
    return fields;
  }

 private:
  const std::shared_ptr<ReportSlot> slot_;
};

}  // namespace
}  // namespace autodist

PYBIND11_MODULE(_runtime, module) {
  module.doc() =
      "Locks, staged files and reports of saves. Paths are bytes, as os.fsencode makes them.";
  autodist::RegisterTensorFlowExceptions();

  py::class_<autodist::NewNamedFile>(
      module, "StagedFile", "A file written under a temporary name before it gets its own.")
      .def(py::init<>())
      .def("stage", &autodist::NewNamedFile::Stage, py::arg("path"), py::arg("contents"),
           py::kw_only(), py::arg("durable"))
      .def("commit", &autodist::NewNamedFile::Commit)
      .def("discard", &autodist::NewNamedFile::Discard)
      .def_property_readonly("is_moved", &autodist::NewNamedFile::is_moved,
                             "Whether the file has its name, or may have it after a power cut.");
  py::class_<autodist::NamedLock>(module, "PrefixLock", "The lock on the prefix of a checkpoint.")
      .def(py::init<>())
      .def("acquire", &autodist::NamedLock::Acquire, py::arg("prefix"), py::kw_only(),
           py::arg("durable"))
      .def("release", &autodist::NamedLock::Release);
  py::class_<autodist::NewBundle>(
      module, "StagedBundle", "A bundle written beside its prefix before it replaces the former.")
      .def(py::init<>())
      .def("stage", &autodist::NewBundle::Stage, py::arg("prefix"), py::kw_only(),
           py::arg("durable"))
      .def("commit", &autodist::NewBundle::Commit)
      .def("discard", &autodist::NewBundle::Discard)
      .def_property_readonly("staged_prefix", &autodist::NewBundle::staged_prefix);

  py::class_<autodist::InstantOptions>(module, "InstantOptions",
                                       "How a save takes all variables at one instant.")
      .def(py::init([](const std::vector<std::string>& methods, int64_t memory_bytes,
                       std::string spill_directory) {
             return autodist::InstantOptions{autodist::ImageMethods(methods), memory_bytes,
                                             std::move(spill_directory)};
           }),
           py::kw_only(), py::arg("methods"), py::arg("memory_bytes"), py::arg("spill_directory"));

  py::class_<autodist::NewReportSlot>(module, "ReportSlot",
                                      "Where the ops of one save or restore tell how far it is.")
      .def(py::init<bool, std::vector<std::string>, const std::optional<autodist::InstantOptions>&,
                    bool>(),
           py::kw_only(), py::arg("is_save"), py::arg("paths"), py::arg("instant") = py::none(),
           py::arg("wants_figures") = false)
      .def("add_path", &autodist::NewReportSlot::AddPath, py::arg("path"))
      .def("close", &autodist::NewReportSlot::Close, "No op finds the slot any more.")
      .def("wait_until_taken", &autodist::NewReportSlot::WaitUntilTaken, py::arg("seconds"))
      .def("note_taken", &autodist::NewReportSlot::NoteTaken)
      .def("cancel", &autodist::NewReportSlot::Cancel)
      .def("wait_until_idle", &autodist::NewReportSlot::WaitUntilIdle)
      .def("outlive_session", &autodist::NewReportSlot::OutliveSession)
      .def("bytes", &autodist::NewReportSlot::Bytes,
           "Bytes that are done, and all; 0 before they are known.")
      .def("take_report", &autodist::NewReportSlot::TakeReport,
           "The fields of the report, once; or None if no op has ended well.");
  module.def("open_report_slots", &autodist::ReportSlot::OpenCount,
             "How many report slots are open in this process.");
  module.def("hold_ending_threads", &autodist::HoldEndingThreads,
             "Call it when the interpreter is about to end: threads that it ends wait instead.");
}
