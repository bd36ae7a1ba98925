// The lines of an error that lists several problems, each once, in the order of first occurrence.
//
// The slices of one variable have the same problem: of a thousand shards the user reads one line.

#ifndef AUTODIST_RESTORE_UNIQUE_LINES_H_
#define AUTODIST_RESTORE_UNIQUE_LINES_H_

#include <string>
#include <unordered_set>
#include <utility>

namespace autodist {

class UniqueLines {
 public:
  void Add(std::string line) {
    if (!seen_.insert(line).second) return;
    if (!text_.empty()) text_ += '\n';
    text_ += line;
  }

  bool empty() const { return seen_.empty(); }

  // The lines, separated by newlines.
  const std::string& text() const { return text_; }

 private:
  std::unordered_set<std::string> seen_;
  std::string text_;
};

}  // namespace autodist

#endif  // AUTODIST_RESTORE_UNIQUE_LINES_H_
