// The search against brute force: on random small programs it visits exactly the graphs that the memory model
// allows, each once. The oracle tries every source of every read and every order of the writes of each
// location.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

struct op {
  enum { load, store, add, mb } what;
  unsigned loc;
  order ord;
};
using threads = std::vector<std::vector<op>>;

threads random_program(std::mt19937& random) {
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  threads p(2 + pick(2));
  for (auto& t : p) {
    const unsigned n = p.size() == 2 ? 2 + pick(3) : 1 + pick(3);
    for (unsigned i = 0; i < n; i++) {
      op o{static_cast<decltype(o.what)>(pick(4)), pick(2), order::relaxed};
      if (pick(3) == 0)
        o.ord = o.what == op::load ? order::acquire : o.what == op::store ? order::release : order::full;
      t.push_back(o);
    }
  }
  return p;
}

/// Who reads from whom and who comes after whom.
std::string signature(const graph& g) {
  std::string s;
  auto name = [&](eid x) {
    return x >= NONE ? std::string("-") : std::to_string(g[x].thread) + "." + std::to_string(g[x].po);
  };
  for (unsigned t = 0; t < MAX_THREADS; t++)
    for (unsigned i = 0; i < g.thread_size(t); i++) {
      const event& e = g[g.at(t, i)];
      if (e.kind != event_kind::fence) s += name(e.rf) + "," + name(e.co_prev) + ";";
    }
  return s;
}

class oracle {
 public:
  oracle(const threads& p, memory_model m) : model_(m) {
    for (unsigned t = 0; t < p.size(); t++)
      for (const op& o : p[t]) {
        event e;
        e.thread = static_cast<u8>(t);
        e.ord = o.ord;
        e.loc = static_cast<u16>(o.loc);
        if (o.what == op::mb) {
          e.kind = event_kind::fence;
          e.fence = fence_kind::mb;
          e.loc = 0xffff;
          events_.push_back(e);
          continue;
        }
        e.rmw = e.succeeds = o.what == op::add;
        e.kind = event_kind::read;
        if (o.what != op::store) events_.push_back(e);
        e.kind = event_kind::write;
        if (o.what != op::load) events_.push_back(e);
      }
    source_.assign(events_.size(), -2);
    choose_source(0);
  }
  std::set<std::string> executions;

 private:
  void choose_source(unsigned i) {
    if (i == events_.size()) {
      if (order_causally()) choose_order(0);
      return;
    }
    if (!events_[i].is_read()) return choose_source(i + 1);
    for (int w = -1; w < static_cast<int>(events_.size()); w++) {
      if (w >= 0 && (!events_[static_cast<unsigned>(w)].is_write() ||
                     events_[static_cast<unsigned>(w)].loc != events_[i].loc))
        continue;
      source_[i] = w;
      choose_source(i + 1);
    }
  }
  /// A topological order of program order and reads-from; false if there is none.
  bool order_causally() {
    std::vector<bool> done(events_.size(), false);
    topological_.clear();
    for (bool moved = true; moved;) {
      moved = false;
      for (unsigned i = 0; i < events_.size(); i++) {
        const bool po_ready = i == 0 || events_[i - 1].thread != events_[i].thread || done[i - 1];
        const bool rf_ready = source_[i] < 0 || done[static_cast<unsigned>(source_[i])];
        if (done[i] || !po_ready || !rf_ready) continue;
        done[i] = moved = true;
        topological_.push_back(i);
      }
    }
    return topological_.size() == events_.size();
  }
  void choose_order(unsigned loc) {
    if (loc == 2) return judge();
    auto& order = co_[loc];
    order.clear();
    for (unsigned i = 0; i < events_.size(); i++)
      if (events_[i].is_write() && events_[i].loc == loc) order.push_back(i);
    do
      choose_order(loc + 1);
    while (std::next_permutation(order.begin(), order.end()));
  }
  void judge() {
    graph g;
    std::vector<eid> id(events_.size());
    for (unsigned i : topological_) {
      event e = events_[i];
      if (e.is_read()) e.rf = source_[i] < 0 ? INIT : id[static_cast<unsigned>(source_[i])];
      id[i] = g.append(e);
    }
    for (const auto& order : co_) {
      eid before = INIT;
      for (unsigned w : order) {
        g.place(id[w], before);
        before = id[w];
      }
    }
    if (consistent(model_, g)) executions.insert(signature(g));
  }

  memory_model model_;
  std::vector<event> events_;
  std::vector<int> source_;
  std::vector<unsigned> topological_;
  std::array<std::vector<unsigned>, 2> co_;
};

TEST(oracle, the_search_visits_what_the_model_allows_and_nothing_twice) {
  std::mt19937 random(20);
  for (unsigned round = 0; round < 2000; round++) {
    const threads code = random_program(random);
    unsigned writes = 0;
    for (const auto& t : code)
      for (const op& o : t)
        writes += o.what == op::store || o.what == op::add;
    if (writes > 5) continue;
    word_t x[2];
    program p;
    for (const auto& t : code)
      p.threads.push_back([&x, &t] {
        for (const op& o : t)
          switch (o.what) {
          case op::load:
            o.ord == order::acquire ? smp_load_acquire(x[o.loc]) : READ_ONCE(x[o.loc]);
            break;
          case op::store:
            o.ord == order::release ? smp_store_release(x[o.loc], 1) : WRITE_ONCE(x[o.loc], 1);
            break;
          case op::add:
            atomic_fetch_add(x[o.loc], 1, o.ord);
            break;
          case op::mb:
            smp_mb();
            break;
          }
      });
    for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
      search_options options;
      options.model = m;
      const outcome o = explorer(p, options).run();
      EXPECT_EQ(o.verdict, verdict::safe);
      EXPECT_EQ(o.executions, oracle(code, m).executions.size())
          << "program " << round << " under " << to_string(m);
    }
  }
}

} // namespace
} // namespace racewalk::explore
