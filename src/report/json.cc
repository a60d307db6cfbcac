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

const char* to_string(place_kind k) {
  switch (k) {
  case place_kind::entry:
    return "entry";
  case place_kind::page:
    return "page";
  case place_kind::memory:
    return "memory";
  case place_kind::lock:
    return "lock";
  case place_kind::cpu:
    return "cpu";
  case place_kind::mm:
    return "mm";
  case place_kind::other:
    break;
  }
  return "other";
}

const char* to_string(effect_kind k) {
  switch (k) {
  case effect_kind::reads:
    return "reads";
  case effect_kind::writes:
    return "writes";
  case effect_kind::caches:
    return "caches";
  case effect_kind::drops:
    return "drops";
  case effect_kind::enters:
    return "enters";
  case effect_kind::leaves:
    return "leaves";
  case effect_kind::frees:
    break;
  }
  return "frees";
}

json json_of(const trace_value& v) {
  json j = {{"text", v.text}};
  if (!v.target.empty()) j["target"] = v.target;
  if (!v.detail.empty()) j["detail"] = v.detail;
  return j;
}

json json_of(const trace_variable& v) {
  return {{"name", v.name},   {"kind", to_string(v.kind)},     {"object", v.object},
          {"field", v.field}, {"initial", json_of(v.initial)}, {"followed", v.followed}};
}

/// With the keys that its kind has.
json json_of(const trace_effect& e) {
  json j = {{"kind", to_string(e.kind)}};
  const bool of_variable =
      e.kind == effect_kind::reads || e.kind == effect_kind::writes || e.kind == effect_kind::caches;
  if (of_variable) {
    j["variable"] = e.variable;
    j["value"] = json_of(e.value);
    j["source"] = e.source;
  }
  if (e.missed) j["missed"] = e.missed;
  if (e.kind != effect_kind::reads && e.kind != effect_kind::writes) {
    j["column"] = e.column;
    j["name"] = e.name;
  }
  return j;
}

json json_of(const trace_step& s);

template <class T> json array_of(const std::vector<T>& all) {
  json list = json::array();
  for (const T& one : all)
    list.push_back(json_of(one));
  return list;
}

json json_of(const trace_step& s) {
  return {{"number", s.number},
          {"column", s.column},
          {"function", s.function},
          {"file", s.file},
          {"line", s.line},
          {"text", s.text},
          {"mark", to_string(s.mark)},
          {"note", s.note},
          {"effects", array_of(s.effects)}};
}

json json_of(const race_trace& t) {
  return {{"columns", t.columns},
          {"variables", array_of(t.variables)},
          {"steps", array_of(t.steps)},
          {"lost", t.lost}};
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

std::string trace_json(const result& r) {
  json j = json_of(*r.trace);
  j["property"] = r.property;
  return j.dump(-1, ' ', true, json::error_handler_t::replace);
}

} // namespace racewalk::report
