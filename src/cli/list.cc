// `racewalk list`: the scenarios, what their threads are, and what each variant departs in.
#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/engine.h"
#include "report/text.h"

namespace racewalk::cli {
namespace {

constexpr std::size_t line_width = 110;

nlohmann::ordered_json json_of(const scenario_info& s) {
  nlohmann::ordered_json variants = nlohmann::ordered_json::array();
  for (const variant_info& v : s.variants)
    variants.push_back({{"id", v.id}, {"name", v.name}, {"summary", v.summary}});
  return {{"id", s.id},           {"scenario", s.name},   {"summary", s.summary}, {"source", s.source},
          {"threads", s.threads}, {"variants", variants}, {"archs", s.archs}};
}

void print(const scenario_info& s) {
  fmt::print("{:<5} {}: {}\n", s.id, s.name, s.summary);
  fmt::print("      threads: {}\n      source: {}\n", fmt::join(s.threads, ", "), s.source);
  std::size_t width = 0;
  for (const variant_info& v : s.variants)
    width = std::max(width, v.name.size());
  for (const variant_info& v : s.variants) {
    std::string lead = fmt::format("      {:<3} {:<{}}  ", v.id, v.name, width);
    for (const std::string& line : report::wrapped(v.summary, line_width - lead.size())) {
      fmt::print("{}{}\n", lead, line);
      lead.assign(lead.size(), ' ');
    }
  }
  fmt::print("\n");
}

} // namespace

int run_list(const list_options& options) {
  for (const scenario_info& s : scenarios())
    if (options.json)
      fmt::print("{}\n", json_of(s).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    else
      print(s);
  return 0;
}

} // namespace racewalk::cli
