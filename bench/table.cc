// Measures every figure and prints it as soon as it is known.
#include <fstream>
#include <map>
#include <thread>

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

bool met(const goal& g, const comparison& c, double scale) {
  switch (g.what) {
  case goal::kind::at_most:
    return c.ours.count() <= g.value;
  case goal::kind::at_most_added:
    return (c.ours - c.kernel).count() <= g.value;
  case goal::kind::at_most_ratio:
    return c.ours / c.kernel <= g.value;
  case goal::kind::scales:
    return scale >= g.value;
  case goal::kind::none:
    break;
  }
  return true;
}

std::string goals_column(const figure& f, const comparison& c, double scale) {
  std::string text;
  for (const goal& g : f.goals)
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : ", ", describe(g), met(g, c, scale) ? "met" : "MISSED");
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

 private:
  std::FILE* out_;
  std::map<std::string, comparison> alone_; // figures on one thread, by name
};

void table::row(const figure& f, const comparison& c) {
  if (f.threads == 1) alone_[f.name] = c;
  const comparison& alone = alone_.at(f.name);
  const double ours = scaling(f.threads, alone.ours, c.ours);
  const double kernel = scaling(f.threads, alone.kernel, c.kernel);
  std::string name = "  " + f.name;
  std::string scales;
  if (f.threads > 1) {
    name += fmt::format(", {} threads", f.threads);
    scales = fmt::format("{:.2f}x / {:.2f}x", ours, kernel);
  }
  fmt::print(out_, "{:<44} {:>10} {:>10} {:>6.2f}x  {:>13}  {}\n", name, number(c.ours.count()),
             number(c.kernel.count()), c.ours / c.kernel, scales, goals_column(f, c, ours));
  std::fflush(out_);
}

} // namespace

void run(std::FILE* out) {
  fmt::print(out, "{}\n", machine_line());
  fmt::print(out, "Nanoseconds per operation of one thread, median of rounds that take turns; ratio: "
                  "racewalk / kernel.\n");
  table t(out);
  for (const figure_group& group : figures()) {
    t.heading(group.heading);
    for (const figure& f : group.figures)
      t.row(f, compare(f));
  }
}

} // namespace racewalk::bench
