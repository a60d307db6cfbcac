// One search in several processes (crew.h): what is given away, and how the parts are put together again.
//
// A subtree is a graph and a choice to be made on it. What a worker learns about variables ends the whole
// split, since all have to know it: the search begins anew, with that knowledge.
#include <link.h>
#include <unistd.h>

#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {

/// Asked after each execution: none while the search is short, or goes on alone.
explorer::hands explorer::hands_to_split_over() {
  const u64 done = result_.executions + result_.blocked;
  if (done < ask_for_workers_at_ || link_ || replaying_ || restart_wanted_) return {};
  if (!result_.failures.empty() || !result_.reason.empty()) return {};
  ask_for_workers_at_ = done + options_.split_after;
  hands more;
  if (options_.more_workers) more.workers = options_.more_workers();
  if (options_.helpers) more.helpers = options_.helpers();
  return more;
}

// ---- graphs as bytes -------------------------------------------------------------------------------------

void explorer::put_graph(packet* p, const graph& of) const {
  p->put(of.size());
  for (eid e = 0; e < of.size(); e++) {
    const event& x = of[e];
    p->put(x);
    const bool located = x.loc != NO_LOCATION;
    p->put(located ? places_[x.loc].addr : nullptr);
    p->put(located ? places_[x.loc].size : u8{0});
  }
}

std::unique_ptr<graph> explorer::get_graph(packet* p) {
  std::unique_ptr<graph> g = pool_.take();
  if (symmetry_) g->set_twins(twins_);
  g->set_weak(options_.model == memory_model::weak);
  std::vector<event> events(p->get<unsigned>());
  for (event& x : events) {
    x = p->get<event>();
    const auto* addr = p->get<const void*>();
    const u8 size = p->get<u8>();
    if (addr) x.loc = places_.at(addr, size);
  }
  g->restore(events);
  return g;
}

// ---- a helper --------------------------------------------------------------------------------------------

namespace {

class hash {
 public:
  void add(u64 v) { sum_ = (sum_ ^ v ^ (sum_ >> 29)) * 0x9e3779b97f4a7c15; }
  void add(const void* address) { add(reinterpret_cast<u64>(address)); }
  void add(std::span<const std::byte> bytes) {
    for (const std::byte b : bytes)
      add(static_cast<u64>(b));
  }
  u64 sum() const { return sum_ ? sum_ : 1; }

 private:
  u64 sum_ = 0;
};

/// The program and its libraries: where they are, and which builds of them (their notes).
int add_object(dl_phdr_info* object, std::size_t, void* to) {
  hash& sum = *static_cast<hash*>(to);
  for (unsigned i = 0; i < object->dlpi_phnum; i++) {
    const auto& segment = object->dlpi_phdr[i];
    const auto* const at = reinterpret_cast<const std::byte*>(object->dlpi_addr + segment.p_vaddr);
    if (segment.p_type == PT_LOAD) {
      sum.add(at);
      sum.add(segment.p_memsz);
    } else if (segment.p_type == PT_NOTE) {
      sum.add(std::span(at, segment.p_memsz));
    }
  }
  return 0;
}

} // namespace

/// A sum of what has to be the same in two processes before one can tell the other a graph: the program, and
/// the addresses, values and places in the source that the first execution has.
u64 explorer::layout() {
  hash sum;
  dl_iterate_phdr(&add_object, &sum);
  sum.add(this);
  for (u16 l = 0; l < places_.size(); l++) {
    sum.add(places_[l].addr);
    sum.add(places_[l].initial);
  }
  for (eid e = 0; e < g().size(); e++) {
    const event& x = g()[e];
    sum.add(x.value);
    sum.add(x.where.function);
    sum.add(u64{x.thread} << 48 | u64{x.loc} << 32 | x.where.line);
  }
  return sum.sum();
}

/// What the search has learned so far.
packet explorer::knowledge() const {
  packet p;
  p.put(n_threads_);
  p.put(symmetry_);
  p.put(unordered_locks_);
  p.put(commuting_);
  places_.tell(&p);
  return p;
}

void explorer::learn(packet* from) {
  n_threads_ = std::max(n_threads_, from->get<unsigned>());
  symmetry_ &= from->get<bool>();
  unordered_locks_ &= from->get<bool>();
  commuting_ &= from->get<bool>();
  restart_wanted_ |= places_.learn(from);
}

/// The life of a worker that was not forked from the broker. It begins as the broker's search began.
void explorer::assist(int socket) {
  do {
    restart_search();
    run_forward();
  } while (restart_wanted_);
  const auto board = std::make_unique<blackboard>();
  worker_link link(*board, socket);
  std::optional<packet> state = link.introduce(layout());
  if (!state) _exit(0);
  learn(&*state);
  restart_search();
  work(link);
}

// ---- a worker --------------------------------------------------------------------------------------------

/// Gives away the oldest choice: most of what is left hangs on it.
void explorer::give_away() {
  auto owner = frames_.begin();
  while (owner != frames_.end() && owner->items.empty())
    ++owner;
  if (owner == frames_.end()) return;
  item it = std::move(owner->items.front());
  owner->items.erase(owner->items.begin());
  packet p;
  p.put(it.kind);
  p.put(it.departures);
  if (it.kind == item::what::revisit) {
    put_graph(&p, *it.revisited);
    p.put(it.read);
  } else {
    std::unique_ptr<graph> at = pool_.copy(*owner->g);
    at->cut(it.length);
    const eid last = at->append(it.e); // so that its location travels as that of the others
    put_graph(&p, *at);
    p.put(last);
    p.put(it.choice);
    p.put(it.judged);
    pool_.put(std::move(at));
  }
  places_.tell(&p);
  p.put(interned_.size());
  for (const payload& i : interned_) {
    p.put(i.id);
    p.put_all(std::span<const std::byte>(i.bytes));
  }
  link_->give(p);
}

/// Takes over a subtree; false if it is empty, or something is learned by it.
bool explorer::accept(packet p) {
  for (frame& f : frames_)
    pool_.put(std::move(f.g));
  frames_.clear();
  item it;
  it.kind = p.get<item::what>();
  it.departures = p.get<unsigned>();
  std::unique_ptr<graph> g = get_graph(&p);
  if (it.kind == item::what::revisit) {
    it.revisited = std::move(g);
    it.read = p.get<eid>();
    g = pool_.take();
    if (symmetry_) g->set_twins(twins_);
    g->set_weak(options_.model == memory_model::weak);
    g->cut(0);
  } else {
    const eid last = p.get<eid>();
    it.e = (*g)[last];
    it.length = last;
    it.choice = p.get<eid>();
    it.judged = p.get<bool>();
    g->cut(last);
  }
  frames_.push_back({std::move(g), {}, 0});
  for (unsigned i = 0; i < n_threads_; i++)
    threads_[i].at = nullptr;
  restart_wanted_ |= places_.learn(&p);
  for (auto n = p.get<std::size_t>(); n > 0; n--) {
    const u64 id = p.get<u64>();
    std::vector<std::byte> bytes = p.get_all<std::byte>();
    if (!interned(id)) interned_.push_back({id, std::move(bytes)});
  }
  return !restart_wanted_ && take(it);
}

/// A worker's life. It began as a copy of the broker: the first one goes on with what that had.
void explorer::work(worker_link& link) {
  link_ = &link;
  blackboard& board = link.board();
  options_.report = nullptr;
  options_.stop = &board.stop;
  bool more = link.is_first();
  if (!more) {
    result_ = {};
    cut_ = {};
    for (frame& f : frames_)
      f.items.clear();
  }
  auto over = [&] {
    link.note(result_.executions, result_.blocked, g().size());
    if (!result_.failures.empty()) board.failed = true;
    // somebody found a violation: what is left of the budget for a shorter one is everybody's
    if (board.failed && shrink_until_ == 0)
      shrink_until_ = result_.executions + result_.blocked + options_.shrink_executions;
    const bool shrunk = shrink_until_ != 0 && result_.executions + result_.blocked >= shrink_until_;
    return restart_wanted_ || shrunk || cut_off();
  };
  bool ended = more && over();
  while (!ended) {
    if (more && take_next_item()) {
      run_forward();
      ended = over();
      if (!ended && link.asked_to_give()) give_away();
      continue;
    }
    std::optional<packet> subtree = link.ask();
    if (!subtree) break;
    more = true;
    if (accept(std::move(*subtree))) {
      run_forward();
      ended = over();
    }
    ended |= restart_wanted_;
  }
  if (ended && restart_wanted_) board.stop = true;
  link.leave(report());
}

packet explorer::report() const {
  packet p;
  p.put(result_.executions);
  p.put(result_.blocked);
  p.put(result_.max_events);
  p.put(result_.fingerprint);
  p.put(cut_);
  p.put_text(result_.reason);
  p.put(restart_wanted_);
  p.put_raw(knowledge().bytes());
  p.put(lock_order_.edges().size());
  for (const lock_order::edge& e : lock_order_.edges()) {
    p.put(e.first);
    p.put(e.second);
    p.put(e.thread);
    put_graph(&p, e.seen_in ? *e.seen_in : graph());
  }
  p.put(lock_order_.uses().size());
  for (const lock_order::use& u : lock_order_.uses()) {
    p.put(u.lock);
    p.put(u.in_handler);
    p.put(u.thread);
    put_graph(&p, u.seen_in ? *u.seen_in : graph());
  }
  p.put(!result_.failures.empty());
  if (result_.failures.empty()) return p;
  const failure& f = result_.failures.front();
  put_graph(&p, f.execution);
  p.put_text(f.invariant);
  p.put_text(f.text);
  p.put(f.where);
  p.put(f.thread);
  p.put(f.loss);
  p.put(f.after);
  return p;
}

// ---- the broker ------------------------------------------------------------------------------------------

void explorer::add_report(packet r) {
  result_.executions += r.get<u64>();
  result_.blocked += r.get<u64>();
  result_.max_events = std::max(result_.max_events, r.get<unsigned>());
  result_.fingerprint += r.get<u64>();
  const auto cut = r.get<decltype(cut_)>();
  cut_.departures += cut.departures;
  cut_.switches += cut.switches;
  if (std::string reason = r.get_text(); result_.reason.empty()) result_.reason = std::move(reason);
  restart_wanted_ |= r.get<bool>();
  learn(&r);
  for (auto n = r.get<std::size_t>(); n > 0; n--) {
    const auto first = r.get<lock_order::taken>();
    const auto second = r.get<lock_order::taken>();
    const auto by = r.get<unsigned>();
    note_lock_edge({first, second, by}, *get_graph(&r));
  }
  for (auto n = r.get<std::size_t>(); n > 0; n--) {
    const auto lock = r.get<lock_order::taken>();
    const auto in_handler = r.get<bool>();
    const auto by = r.get<unsigned>();
    note_lock_use({lock, in_handler, by}, *get_graph(&r));
  }
  if (!r.get<bool>()) return;
  failure f;
  f.execution = *get_graph(&r);
  f.invariant = r.get_text();
  f.text = r.get_text();
  f.where = r.get<site>();
  f.thread = r.get<unsigned>();
  f.loss = r.get<eid>();
  f.after = r.get<eid>();
  if (result_.failures.empty())
    result_.failures.push_back(std::move(f));
  else if (length_of(f.execution) < length_of(result_.failures.front().execution))
    result_.failures.front() = std::move(f);
}

/// Splits what is left of the search over these and a first process, which takes the place of this one; false
/// if none can be started.
bool explorer::split(hands more) {
  crew all([this](worker_link& link) { work(link); });
  blackboard& board = all.board();
  if (!all.hire()) return false;
  auto hire = [&](unsigned n) {
    while (n-- > 0 && all.hire()) {
    }
  };
  const packet state = knowledge();
  auto take_in = [&](hands& some) {
    hire(some.workers);
    for (helper& h : some.helpers)
      all.admit(std::move(h), layout_, state);
  };
  take_in(more);
  all.run([&] {
    if (options_.stop && options_.stop->load(std::memory_order_relaxed)) board.stop = true;
    if (!board.stop && !board.failed) {
      hands now;
      if (options_.more_workers) now.workers = options_.more_workers();
      if (options_.helpers) now.helpers = options_.helpers();
      take_in(now);
    }
    if (!options_.report) return;
    progress sum{};
    for (const blackboard::count& c : board.counts) {
      sum.executions += c.executions;
      sum.blocked += c.blocked;
      sum.depth = std::max(sum.depth, c.depth.load());
    }
    options_.report(sum);
  });
  result_ = {};
  cut_ = {};
  for (packet& r : all.reports())
    if (!r.bytes().empty()) add_report(std::move(r));
  if (!all.accident().empty()) result_.reason = all.accident();
  return true;
}

} // namespace racewalk::explore
