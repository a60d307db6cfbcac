#include "report/json.h"

#include <nlohmann/json.hpp>

namespace racewalk::report {
namespace {

using json = nlohmann::ordered_json;

const char* to_string(step_mark m) {
  switch (m) {
  case step_mark::stale:
    return "stale";
  case step_mark::violating:
    return "violating";
  case step_mark::none:
    break;
  }
  return "none";
}

json json_of(const trace_step& s) {
  return {{"number", s.number}, {"column", s.column}, {"function", s.function},    {"file", s.file},
          {"line", s.line},     {"text", s.text},     {"mark", to_string(s.mark)}, {"note", s.note}};
}

json json_of(const race_trace& t) {
  json steps = json::array();
  for (const trace_step& s : t.steps)
    steps.push_back(json_of(s));
  return {{"columns", t.columns}, {"steps", steps}, {"lost", t.lost}};
}

} // namespace

std::string json_line(const result& r) {
  const json line = {{"id", r.id},
                     {"scenario", r.scenario},
                     {"variant", r.variant},
                     {"variant_id", r.variant_id},
                     {"arch", r.arch},
                     {"model", r.model},
                     {"verdict", to_string(r.verdict)},
                     {"expected", to_string(r.expected)},
                     {"executions", r.executions},
                     {"blocked", r.blocked},
                     {"seconds", r.seconds},
                     {"property", r.property},
                     {"reason", r.reason},
                     {"trace", r.trace ? json_of(*r.trace) : json(nullptr)}};
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

} // namespace racewalk::report
