#include "cli/wire.h"

namespace racewalk::cli {
namespace {

// Each struct is described once, for both directions. The bindings name every member, so that one which is
// added later is an error here.

template <class Way> void carry(Way& way, report::trace_value& v) {
  auto& [text, target, detail] = v;
  way(text, target, detail);
}
template <class Way> void carry(Way& way, report::trace_variable& v) {
  auto& [name, kind, object, field, initial, followed] = v;
  way(name, kind, object, field, initial, followed);
}
template <class Way> void carry(Way& way, report::trace_effect& e) {
  auto& [kind, variable, value, source, missed, column, name] = e;
  way(kind, variable, value, source, missed, column, name);
}
template <class Way> void carry(Way& way, report::trace_step& s) {
  auto& [number, column, function, file, line, text, mark, note, effects] = s;
  way(number, column, function, file, line, text, mark, note, effects);
}
template <class Way> void carry(Way& way, report::race_trace& t) {
  auto& [columns, variables, steps, lost, schedule] = t;
  way(columns, variables, steps, lost, schedule);
}
template <class Way> void carry(Way& way, report::result& r) {
  auto& [id, scenario, variant, variant_id, arch, model, verdict, expected, executions, blocked, seconds,
         property, reason, trace, file] = r;
  way(id, scenario, variant, variant_id, arch, model, verdict, expected, executions, blocked, seconds,
      property, reason, trace, file);
}
template <class Way> void carry(Way& way, variant_info& v) {
  auto& [name, id, summary] = v;
  way(name, id, summary);
}
template <class Way> void carry(Way& way, scenario_info& s) {
  auto& [name, id, summary, source, threads, variants, archs, file] = s;
  way(name, id, summary, source, threads, variants, archs, file);
}

class writer {
 public:
  explicit writer(explore::packet& to) : to_(to) {}
  template <class... T> void operator()(T&... members) { (one(members), ...); }

 private:
  void one(std::string& s) { to_.put_text(s); }
  template <class T> void one(std::vector<T>& all) {
    to_.put(all.size());
    for (T& v : all)
      one(v);
  }
  template <class T> void one(std::optional<T>& v) {
    to_.put(v.has_value());
    if (v) one(*v);
  }
  template <class T> void one(T& v) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      to_.put(v);
    else
      carry(*this, v);
  }

  explore::packet& to_;
};

class reader {
 public:
  explicit reader(explore::packet& from) : from_(from) {}
  template <class... T> void operator()(T&... members) { (one(members), ...); }

 private:
  void one(std::string& s) { s = from_.get_text(); }
  template <class T> void one(std::vector<T>& all) {
    all.resize(from_.get<std::size_t>());
    for (T& v : all)
      one(v);
  }
  template <class T> void one(std::optional<T>& v) {
    if (from_.get<bool>()) one(v.emplace());
  }
  template <class T> void one(T& v) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      v = from_.get<T>();
    else
      carry(*this, v);
  }

  explore::packet& from_;
};

template <class T> void put_whole(explore::packet& to, T value) { writer{to}(value); }
template <class T> T get_whole(explore::packet& from) {
  T value;
  reader{from}(value);
  return value;
}

} // namespace

void put(explore::packet& to, const report::result& r) { put_whole(to, r); }
report::result get_result(explore::packet& from) { return get_whole<report::result>(from); }

void put(explore::packet& to, const std::vector<scenario_info>& infos) { put_whole(to, infos); }
std::vector<scenario_info> get_infos(explore::packet& from) {
  return get_whole<std::vector<scenario_info>>(from);
}

} // namespace racewalk::cli
