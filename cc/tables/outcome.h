// How functions of this room say what went wrong. The room knows neither absl nor exceptions.

#ifndef AUTODIST_TABLES_OUTCOME_H_
#define AUTODIST_TABLES_OUTCOME_H_

#include <string>
#include <utility>

namespace autodist {

enum class OutcomeKind {
  kGood,
  kDamaged,      // the bytes are not those of what they should be
  kUnsupported,  // sound, but for another reader
  kUnreadable,   // the system's error, in errno
  kNoMemory,
  kStopped,  // by the caller's own wish
};

class [[nodiscard]] Outcome {
 public:
  static Outcome Good() { return Outcome(OutcomeKind::kGood, ""); }
  static Outcome Damaged(std::string text) {
    return Outcome(OutcomeKind::kDamaged, std::move(text));
  }
  static Outcome Unsupported(std::string text) {
    return Outcome(OutcomeKind::kUnsupported, std::move(text));
  }
  static Outcome Unreadable(int error_number, std::string text) {
    Outcome outcome(OutcomeKind::kUnreadable, std::move(text));
    outcome.error_number_ = error_number;
    return outcome;
  }
  static Outcome NoMemory(std::string text) {
    return Outcome(OutcomeKind::kNoMemory, std::move(text));
  }
  static Outcome Stopped() { return Outcome(OutcomeKind::kStopped, "stopped"); }

  bool is_good() const { return kind_ == OutcomeKind::kGood; }
  OutcomeKind kind() const { return kind_; }
  // A text that says what is wrong but not in which file.
  const std::string& text() const { return text_; }
  // errno, where the kind is kUnreadable.
  int error_number() const { return error_number_; }

  // The same with `where` in front of the text.
  Outcome At(const std::string& where) const {
    Outcome located = *this;
    located.text_ = where + ": " + text_;
    return located;
  }

 private:
  Outcome(OutcomeKind kind, std::string text) : kind_(kind), text_(std::move(text)) {}

  OutcomeKind kind_;
  std::string text_;
  int error_number_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_TABLES_OUTCOME_H_
