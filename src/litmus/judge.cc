#include "litmus/judge.h"

#include <algorithm>

#include "litmus/condition.h"
#include "litmus/error.h"
#include "litmus/search.h"

namespace racewalk::litmus {
namespace {

/// Collects what the executions of all candidates end in.
class collector final : public execution_visitor {
 public:
  explicit collector(const litmus_test& test) : test_(test) {
    mentioned_items(test.condition, result_.shown);
    result_.shown.insert(result_.shown.end(), test.also_shown.begin(), test.also_shown.end());
    std::ranges::sort(result_.shown, [](const final_item& a, const final_item& b) {
      const bool a_is_location = a.process < 0, b_is_location = b.process < 0;
      return a_is_location != b_is_location ? b_is_location : a < b;
    });
    result_.shown.erase(std::unique(result_.shown.begin(), result_.shown.end()), result_.shown.end());
  }

  bool wanted(const final_values& value_of) override {
    return !test_.filter || holds(*test_.filter, value_of);
  }

  void visit(const final_values& value_of, const std::set<std::string>& flags) override {
    std::vector<value_t> state;
    for (const final_item& item : result_.shown)
      state.push_back(value_of(item));
    result_.states.insert(std::move(state));
    (holds(test_.condition, value_of) ? result_.positive : result_.negative)++;
    result_.flags.insert(flags.begin(), flags.end());
  }

  judgement take() { return std::move(result_); }

 private:
  const litmus_test& test_;
  judgement result_;
};

/// Steps through every choice of one path for each process.
class combinations {
 public:
  explicit combinations(const std::vector<std::vector<process_path>>& paths)
      : paths_(paths), at_(paths.size(), 0) {}

  [[nodiscard]] std::vector<const process_path*> current() const {
    std::vector<const process_path*> chosen;
    for (std::size_t p = 0; p < paths_.size(); p++)
      chosen.push_back(&paths_[p][at_[p]]);
    return chosen;
  }

  bool advance() {
    for (std::size_t p = 0; p < paths_.size(); p++) {
      if (++at_[p] < paths_[p].size()) return true;
      at_[p] = 0;
    }
    return false;
  }

 private:
  const std::vector<std::vector<process_path>>& paths_;
  std::vector<std::size_t> at_;
};

} // namespace

judgement judge(const litmus_test& test) {
  std::vector<std::vector<process_path>> paths;
  for (std::size_t process = 0; process < test.processes.size(); process++)
    paths.push_back(unfold(test, process));

  collector results(test);
  combinations choice(paths);
  do {
    const candidate c(test, choice.current());
    if (c.size() > max_events) throw unsupported(test.processes[0].line, "a test with so many events");
    visit_executions(c, results);
  } while (choice.advance());
  return results.take();
}

} // namespace racewalk::litmus
