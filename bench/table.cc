// Measures every figure and prints it as soon as it is known.
#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <sys/utsname.h>

#include "bench/bench.h"
#include "bench/workload.h"

namespace racewalk::bench {
namespace {

/// `CPU model, n CPUs, kernel release`: what the figures depend on.
std::string machine_line() {
  std::string model = "unknown CPU";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  utsname system{};
  uname(&system);
  return fmt::format("{}, {} CPUs, {} {}", model, std::thread::hardware_concurrency(), system.sysname,
                     system.release);
}

/// Nanoseconds to three digits or so.
std::string number(double ns) { return fmt::format("{:.{}f}", ns, ns < 9.995 ? 2 : ns < 99.95 ? 1 : 0); }

std::string describe(const goal& g) {
  switch (g.what) {
  case goal::kind::at_most:
    return fmt::format("<= {:g} ns", g.value);
  case goal::kind::at_most_added:
    return fmt::format("<= +{:g} ns", g.value);
  case goal::kind::at_most_ratio:
    return fmt::format("<= {:g}x", g.value);
  case goal::kind::scales:
    return fmt::format("scales >= {:g}x", g.value);
  case goal::kind::none:
    break;
  }
  return "";
}

/// How much of the work of one thread alone all threads do together; 1 on one thread.
double scaling(unsigned threads, nanoseconds alone, nanoseconds together) {
  return threads * (alone / together);
}

bool met(const goal& g, nanoseconds ours, nanoseconds beside, double scale) {
  switch (g.what) {
  case goal::kind::at_most:
    return ours.count() <= g.value;
  case goal::kind::at_most_added:
    return (ours - beside).count() <= g.value;
  case goal::kind::at_most_ratio:
    return ours / beside <= g.value;
  case goal::kind::scales:
    return scale >= g.value;
  case goal::kind::none:
    break;
  }
  return true;
}

std::string goals_column(const std::vector<goal>& goals, nanoseconds ours, nanoseconds beside, double scale) {
  std::string text;
  for (const goal& g : goals)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", describe(g),
                        met(g, ours, beside, scale) ? "met" : "MISSED");
  return text;
}

class table {
 public:
  explicit table(std::FILE* out) : out_(out) {}
  void heading(const std::string& text) {
    fmt::print(out_, "\n{:<44} {:>10} {:>10} {:>7}  {:>13}  {}\n", text, "racewalk", "kernel", "ratio",
               "2 threads do", "goal");
  }
  void row(const figure& f, const comparison& c);
  void no_row(const figure& f, const char* why) {
    fmt::print(out_, "  {:<42} cannot be measured: {}\n", f.name, why);
  }

 private:
  void beside(const std::string& name, nanoseconds ours, std::optional<nanoseconds> other,
              const std::string& scales, const std::string& goals);
  std::FILE* out_;
  std::map<std::string, comparison> alone_; // figures on one thread, by name
};

/// One line: two figures and what comes of them.
void table::beside(const std::string& name, nanoseconds ours, std::optional<nanoseconds> other,
                   const std::string& scales, const std::string& goals) {
  fmt::print(out_, "{:<44} {:>10} {:>10} {:>7}  {:>13}  {}\n", name, number(ours.count()),
             other ? number(other->count()) : "-", other ? fmt::format("{:.2f}x", ours / *other) : "-",
             scales, goals);
  std::fflush(out_);
}

void table::row(const figure& f, const comparison& c) {
  if (f.threads == 1) alone_[f.name] = c;
  const auto alone = alone_.find(f.name);
  double scale = 1;
  std::string name = "  " + f.name;
  std::string scales;
  if (f.threads > 1) name += fmt::format(", {} threads", f.threads);
  if (f.threads > 1 && alone != alone_.end()) {
    scale = scaling(f.threads, alone->second.ours, c.ours);
    scales = fmt::format("{:.2f}x / {:.2f}x", scale,
                         scaling(f.threads, alone->second.kernel.value(), c.kernel.value()));
  }
  beside(name, c.ours, c.kernel, scales,
         c.kernel ? goals_column(f.goals, c.ours, *c.kernel, scale) : "the kernel's side cannot be had here");
  if (c.direct)
    beside("    beside direct I/O", c.ours, c.direct, "", goals_column(f.direct_goals, c.ours, *c.direct, 1));
}

} // namespace

namespace {

/// What the words choose; with no word, all.
std::vector<figure_group> chosen(const std::vector<std::string>& words) {
  const auto named = [&words](const std::string& name) {
    return words.empty() || std::any_of(words.begin(), words.end(),
                                        [&](const std::string& word) { return chooses(word, name); });
  };
  std::vector<figure_group> groups = figures();
  for (figure_group& group : groups)
    if (!named(group.heading)) std::erase_if(group.figures, [&](const figure& f) { return !named(f.name); });
  std::erase_if(groups, [](const figure_group& group) { return group.figures.empty(); });
  return groups;
}

} // namespace

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const figure_group& group : figures()) {
    all.push_back(group.heading);
    for (const figure& f : group.figures)
      all.push_back(f.name);
  }
  return all;
}

bool chooses(const std::string& word, const std::string& name) {
  return name.find(word) != std::string::npos;
}

bool run(std::FILE* out, const std::vector<std::string>& words) {
  fmt::print(out, "{}\n", machine_line());
  fmt::print(out, "Nanoseconds per operation of one thread, median of rounds that take turns; ratio: "
                  "racewalk / kernel.\n");
  table t(out);
  bool all = true;
  for (const figure_group& group : chosen(words)) {
    t.heading(group.heading);
    for (const figure& f : group.figures)
      try {
        t.row(f, compare(f));
      } catch (const std::exception& e) {
        all = false;
        t.no_row(f, e.what());
      }
  }
  return all;
}

} // namespace racewalk::bench
