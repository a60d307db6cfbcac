#include "explore/story.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "explore/linear.h"

namespace racewalk::explore {

namespace {

const char* fence_name(fence_kind f) {
  switch (f) {
  case fence_kind::mb:
    return "smp_mb()";
  case fence_kind::wmb:
    return "smp_wmb()";
  case fence_kind::rmb:
    return "smp_rmb()";
  case fence_kind::atomic:
    break;
  }
  return "smp_mb__after_atomic()";
}

const char* domain_name(domain d) {
  switch (d) {
  case domain::irq:
    return "interrupts off";
  case domain::rcu:
    return "RCU read-side section";
  case domain::tlb:
    break;
  }
  return "access through a translation";
}

std::string cpu_list(const graph& g, const event& quiesce, unsigned po) {
  std::string s;
  for (unsigned i = po + 1; i < g.thread_size(quiesce.thread); i++) {
    const event& e = g[g.at(quiesce.thread, i)];
    if (!e.counts_sections) break;
    s += (s.empty() ? "CPU" : ", CPU") + std::to_string(e.counted);
  }
  return s;
}

/// The step in words; empty if it is not worth a row.
std::string words(const graph& g, const event& e, const locations& places, const naming& names) {
  const void* addr = e.loc != NO_LOCATION ? places[e.loc].addr : nullptr;
  switch (e.kind) {
  case event_kind::read:
    if (e.counts_sections) return "  CPU" + std::to_string(e.counted) + " is out of it";
    if (e.lock && e.rmw && e.succeeds)
      return (e.ord == order::release ? "unlock " : "lock ") + names.name(addr);
    if (e.rmw && e.succeeds) {
      const event& w = g[g.at(e.thread, e.po + 1u < g.thread_size(e.thread) ? e.po + 1u : e.po)];
      return "RMW " + names.name(addr) + ": " + names.value(addr, e.value) + " -> " +
             (w.is_write() ? names.value(addr, w.value) : "?");
    }
    if (e.lock && e.rmw) return (e.await ? "waits for lock " : "does not get lock ") + names.name(addr);
    if (e.rmw) return "RMW " + names.name(addr) + " fails: " + names.value(addr, e.value);
    return (e.await ? "wait for " : "R ") + names.name(addr) + " -> " + names.value(addr, e.value);
  case event_kind::translation:
    return "MMU reads " + names.name(addr) + " for " + names.address(e.u.tr.va) + " -> " +
           names.value(addr, e.value);
  case event_kind::write:
    if (e.section_end) return e.dom == domain::tlb ? "" : std::string("end: ") + domain_name(e.dom);
    if (e.lock && e.ord == order::release) return "unlock " + names.name(addr);
    return "W " + names.name(addr) + " = " + names.value(addr, e.value);
  case event_kind::fence:
    return fence_name(e.fence);
  case event_kind::invalidate:
    return "drop TLB entries";
  case event_kind::section_begin:
    return e.dom == domain::tlb ? "" : std::string("begin: ") + domain_name(e.dom);
  case event_kind::quiesce:
    return std::string(e.has_range            ? "TLBI broadcast to "
                       : e.dom == domain::rcu ? "grace period, waits for "
                                              : "IPI to ") +
           cpu_list(g, e, e.po);
  case event_kind::free_object:
    return "FREE " + names.object(e.u.freed.object);
  }
  return "";
}

std::string short_file(const char* path) {
  std::string s = path;
  for (const char* root : {"/src/", "/scenarios/", "/include/", "/examples/", "/tests/"})
    if (const auto at = s.rfind(root); at != std::string::npos) return s.substr(at + 1);
  return s;
}

// ---- the state
// ---------------------------------------------------------------------------------------------

/// The variables of the picture, found by location.
class cast {
 public:
  cast(const locations& places, const naming& names) : places_(places), names_(names) {
    std::map<const void*, u16> known;
    for (unsigned l = 0; l < places.size(); l++)
      known[places[static_cast<u16>(l)].addr] = static_cast<u16>(l);
    if (!names.landmarks) return;
    for (const landmark& m : names.landmarks()) {
      if (const auto at = known.find(m.addr); at != known.end()) {
        of(at->second);
        continue;
      }
      u64 initial = 0;
      std::memcpy(&initial, m.addr, m.size);
      introduce(m.addr, initial);
    }
  }

  unsigned of(u16 l) {
    if (const auto at = index_.find(l); at != index_.end()) return at->second;
    const location& where = places_[l];
    const unsigned i = introduce(where.addr, where.initial);
    index_[l] = i;
    variables_[i].followed = where.shared || !where.writers;
    if (where.lock) {
      variables_[i].place.kind = variable_kind::lock;
      variables_[i].initial = {where.initial ? "held" : "free", {}, {}};
    }
    return i;
  }

  reading read(u16 l, u64 value) const {
    if (places_[l].lock) return {value ? "held" : "free", {}, {}};
    return read(places_[l].addr, value);
  }

  std::vector<variable> take() { return std::move(variables_); }

 private:
  reading read(const void* addr, u64 value) const {
    return names_.read ? names_.read(addr, value) : reading{names_.value(addr, value), {}, {}};
  }
  unsigned introduce(const void* addr, u64 initial) {
    variable v{names_.name(addr), {}, read(addr, initial)};
    v.place = names_.place ? names_.place(addr) : variable_place{variable_kind::other, {}, v.name};
    variables_.push_back(std::move(v));
    return static_cast<unsigned>(variables_.size() - 1);
  }

  const locations& places_;
  const naming& names_;
  std::map<u16, unsigned> index_;
  std::vector<variable> variables_;
};

/// Tells the execution event by event.
class teller {
 public:
  teller(const failure& f, const locations& places, memory_model m, const naming& names)
      : f_(f), g_(f.execution), places_(places), model_(m), names_(names), cast_(places, names),
        row_(g_.size(), 0), newest_(places.size(), INIT) {}

  story tell();

 private:
  /// A translation that a CPU's TLB holds.
  struct cached {
    translation of;
    std::string name;
  };

  step begin_step(eid id, std::string text) const;
  void add_effects(eid id, step& s);
  void add_read(eid id, step& s);
  void add_write(eid id, step& s);
  void add_drops(unsigned thread, const tlb_range& range, step& s);
  void mark_stale(eid id, step& s) const;
  unsigned row_of(eid w) const { return w < NONE ? row_[w] : 0; }

  const failure& f_;
  const graph& g_;
  const locations& places_;
  memory_model model_;
  const naming& names_;
  cast cast_;
  std::vector<unsigned> row_; ///< the step that tells an event; 0: none does, or none yet
  std::vector<eid> newest_;   ///< of each location
  std::array<std::vector<cached>, MAX_THREADS> tlb_;
};

step teller::begin_step(eid id, std::string text) const {
  const event& e = g_[id];
  step s;
  s.event = id;
  s.thread = e.thread;
  s.function = function_name(e.where);
  s.file = short_file(e.where.file);
  s.line = e.where.line;
  s.text = std::move(text);
  s.loses = id == f_.loss;
  if (s.loses && f_.after < NONE)
    s.note = (g_[f_.after].kind == event_kind::free_object ? "freed at step " : "not ordered with step ") +
             std::to_string(row_[f_.after]);
  return s;
}

void teller::mark_stale(eid id, step& s) const {
  const event& e = g_[id];
  const eid w = newest_[e.loc];
  s.stale = true;
  s.note = "stale: CPU" + std::to_string(g_[w].thread) + " wrote " +
           names_.value(places_[e.loc].addr, g_[w].value);
  if (row_[w]) s.note += " at step " + std::to_string(row_[w]);
  s.note += e.kind == event_kind::translation ? "; no flush has reached this CPU since"
            : model_ == memory_model::tso     ? "; still in its store buffer"
                                              : "; not ordered before this read";
}

void teller::add_read(eid id, step& s) {
  const event& e = g_[id];
  const bool stale = e.rf != newest_[e.loc];
  s.effects.push_back({effect_kind::reads,
                       cast_.of(e.loc),
                       cast_.read(e.loc, e.value),
                       row_of(e.rf),
                       stale ? row_of(newest_[e.loc]) : 0,
                       e.thread,
                       {}});
}

void teller::add_write(eid id, step& s) {
  const event& e = g_[id];
  s.effects.push_back(
      {effect_kind::writes, cast_.of(e.loc), cast_.read(e.loc, e.value), row_of(e.co_prev), 0, e.thread, {}});
  if (!places_[e.loc].lock) return;
  const effect_kind turn = e.ord == order::release ? effect_kind::leaves : effect_kind::enters;
  s.effects.push_back({turn, 0, {}, 0, 0, e.thread, "holds " + names_.name(places_[e.loc].addr)});
}

void teller::add_drops(unsigned thread, const tlb_range& range, step& s) {
  std::erase_if(tlb_[thread], [&](const cached& c) {
    const bool gone = c.of.ctx == range.ctx && (range.levels >> c.of.level & 1) && c.of.va >= range.start &&
                      c.of.va < range.end;
    if (gone) s.effects.push_back({effect_kind::drops, 0, {}, 0, 0, thread, c.name});
    return gone;
  });
}

void teller::add_effects(eid id, step& s) {
  const event& e = g_[id];
  switch (e.kind) {
  case event_kind::read:
    if (e.counts_sections) {
      if (e.has_range) add_drops(e.counted, e.u.range, s);
      return;
    }
    add_read(id, s);
    if (e.rmw && e.succeeds && e.po + 1u < g_.thread_size(e.thread)) add_write(g_.at(e.thread, e.po + 1u), s);
    return;
  case event_kind::translation: {
    add_read(id, s);
    if (!e.u.tr.cacheable(e.value)) return;
    const std::string name = names_.address(e.u.tr.va) + " " + names_.name(places_[e.loc].addr);
    std::vector<cached>& tlb = tlb_[e.thread];
    std::erase_if(tlb, [&](const cached& c) { return c.name == name; });
    tlb.push_back({e.u.tr, name});
    s.effects.push_back(
        {effect_kind::caches, cast_.of(e.loc), cast_.read(e.loc, e.value), row_of(e.rf), 0, e.thread, name});
    return;
  }
  case event_kind::write:
    if (e.section_end)
      s.effects.push_back({effect_kind::leaves, 0, {}, 0, 0, e.thread, domain_name(e.dom)});
    else
      add_write(id, s);
    return;
  case event_kind::section_begin:
    s.effects.push_back({effect_kind::enters, 0, {}, 0, 0, e.thread, domain_name(e.dom)});
    return;
  case event_kind::invalidate:
    return add_drops(e.thread, e.u.range, s);
  case event_kind::free_object:
    s.effects.push_back({effect_kind::frees, 0, {}, 0, 0, e.thread, names_.object(e.u.freed.object)});
    return;
  case event_kind::fence:
  case event_kind::quiesce:
    return;
  }
}

story teller::tell() {
  story told;
  for (const eid id : linearise(g_, f_.after, f_.loss)) {
    const event& e = g_[id];
    const bool half_told = e.is_write() && e.rmw; // the read half told both
    if (e.is_write()) newest_[e.loc] = id;
    if (half_told) row_[id] = static_cast<unsigned>(told.steps.size());
    std::string text = half_told ? "" : words(g_, e, places_, names_);
    if (text.empty()) continue;
    step s = begin_step(id, std::move(text));
    if (e.is_read() && !e.counts_sections && e.rf != newest_[e.loc]) mark_stale(id, s);
    add_effects(id, s);
    told.steps.push_back(std::move(s));
    row_[id] = static_cast<unsigned>(told.steps.size());
  }
  if (f_.loss == NONE && f_.thread < MAX_THREADS) { // noticed between two events
    step s;
    s.thread = f_.thread;
    s.function = function_name(f_.where);
    s.file = short_file(f_.where.file);
    s.line = f_.where.line;
    s.text = f_.text;
    s.loses = true;
    told.steps.push_back(std::move(s));
  }
  told.variables = cast_.take();
  return told;
}

} // namespace

story story_of(const failure& f, const locations& places, memory_model m, const naming& names) {
  return teller(f, places, m, names).tell();
}

} // namespace racewalk::explore
