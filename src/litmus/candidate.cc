#include "litmus/candidate.h"

#include <set>
#include <utility>

namespace racewalk::litmus {

candidate::candidate(const litmus_test& test, std::vector<const process_path*> paths)
    : test_(&test), paths_(std::move(paths)), index_(paths_.size()) {
  add_initial_writes();
  for (std::size_t process = 0; process < paths_.size(); process++)
    add_path(process);
}

/// Locations that no access of these paths touches keep their initial values without an event.
void candidate::add_initial_writes() {
  std::set<std::size_t> accessed;
  for (const process_path* path : paths_)
    for (const event& e : path->events)
      if (e.kind != event_kind::fence) accessed.insert(*e.location);
  for (const std::size_t location : accessed)
    events_.push_back({.what = {.kind = event_kind::write, .order = ordering::once, .location = location}});
}

void candidate::add_path(std::size_t process) {
  const std::vector<event>& path = paths_[process]->events;
  index_[process].resize(path.size());
  for (std::size_t position = 0; position < path.size(); position++) {
    const event& e = path[position];
    if (e.kind == event_kind::fence && !is_rcu(e.fence)) continue;
    const std::size_t at = events_.size();
    index_[process][position] = at;
    events_.push_back({.what = e, .process = static_cast<int>(process), .position = position});
    if (e.rmw_read) {
      const std::size_t read = *index_[process][*e.rmw_read];
      events_[at].rmw_read = read;
      events_[read].rmw_write = at;
    }
  }
}

} // namespace racewalk::litmus
