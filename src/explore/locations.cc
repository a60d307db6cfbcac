#include "explore/locations.h"

#include <cstring>

namespace racewalk::explore {

namespace {
constexpr u16 EMPTY = 0xffff;
std::size_t slot_of(const void* addr, std::size_t mask) {
  return (reinterpret_cast<u64>(addr) * 0x9e3779b97f4a7c15ull >> 40) & mask;
}
} // namespace

locations::locations() : table_(1024, EMPTY) {}

void locations::grow() {
  std::vector<u16> bigger(table_.size() * 2, EMPTY);
  for (u16 l = 0; l < all_.size(); l++) {
    std::size_t i = slot_of(all_[l].addr, bigger.size() - 1);
    while (bigger[i] != EMPTY)
      i = (i + 1) & (bigger.size() - 1);
    bigger[i] = l;
  }
  table_ = std::move(bigger);
}

u16 locations::at(const void* addr, u8 size) {
  const std::size_t mask = table_.size() - 1;
  std::size_t i = slot_of(addr, mask);
  for (; table_[i] != EMPTY; i = (i + 1) & mask)
    if (all_[table_[i]].addr == addr) return table_[i];
  location l;
  l.addr = addr;
  l.size = size;
  std::memcpy(&l.initial, addr, size);
  for (const freed_range& f : freed_)
    if (addr >= f.begin && addr < f.end) l.freers |= f.freers;
  const u16 id = static_cast<u16>(all_.size());
  all_.push_back(l);
  table_[i] = id;
  if (all_.size() * 2 > table_.size()) grow();
  return id;
}

bool locations::share(u16 l) {
  const bool changes = !all_[l].shared;
  all_[l].shared = true;
  return changes;
}

bool locations::share_if_used_by_several(u16 id) {
  const location& l = all_[id];
  if (l.shared) return false;
  const auto several = [](u32 threads) { return (threads & (threads - 1)) != 0; };
  const u32 users = l.readers | l.writers;
  return ((l.writers && several(users)) || (l.freers && several(users | l.freers))) && share(id);
}

bool locations::any_unordered_lock() const {
  for (u16 l = 0; l < all_.size(); l++)
    if (unordered_lock(l)) return true;
  return false;
}

bool locations::any_counter() const {
  for (u16 l = 0; l < all_.size(); l++)
    if (all_[l].shared && counter(l)) return true;
  return false;
}

bool locations::note_change(u16 id, bool adds) {
  location& l = all_[id];
  const bool before = counter(id);
  (adds ? l.added : l.written) = true;
  return l.shared && counter(id) != before;
}

bool locations::note_use(u16 id, unsigned thread, bool writes) {
  location& l = all_[id];
  if (l.shared) return false;
  (writes ? l.writers : l.readers) |= u32{1} << thread;
  return share_if_used_by_several(id);
}

locations::freed_range& locations::range_at(const char* begin, const char* end) {
  for (freed_range& f : freed_)
    if (f.begin == begin) return f;
  freed_.push_back({begin, end, 0});
  return freed_.back();
}

bool locations::note_free(const void* p, u64 bytes, unsigned thread) {
  const char* begin = static_cast<const char*>(p);
  const u32 me = u32{1} << thread;
  freed_range& range = range_at(begin, begin + bytes);
  if (range.freers & me) return false;
  range.freers |= me;
  return apply_frees(range);
}

/// The locations in the range have its freers; true if that makes one shared.
bool locations::apply_frees(const freed_range& range) {
  bool changes = false;
  for (u16 id = 0; id < all_.size(); id++) {
    location& l = all_[id];
    if (l.addr < range.begin || l.addr >= range.end) continue;
    l.freers |= range.freers;
    changes |= share_if_used_by_several(id);
  }
  return changes;
}

bool locations::note_section(unsigned cpu, domain d) {
  const bool before = sections_matter(cpu, d);
  begun_[static_cast<unsigned>(d)] |= u64{1} << cpu;
  return sections_matter(cpu, d) != before;
}

bool locations::note_wait(unsigned cpu, domain d) {
  const bool before = sections_matter(cpu, d);
  waited_[static_cast<unsigned>(d)] |= u64{1} << cpu;
  return sections_matter(cpu, d) != before;
}

void locations::tell(packet* to) const {
  to->put_all(std::span(all_));
  to->put_all(std::span(freed_));
  to->put(begun_);
  to->put(waited_);
}

bool locations::learn(packet* from) {
  bool changes = false;
  for (const location& theirs : from->get_all<location>()) {
    const u16 id = at(theirs.addr, theirs.size);
    location& l = all_[id];
    changes |= theirs.ordered && !l.ordered;
    const bool counted = counter(id);
    l.added |= theirs.added;
    l.written |= theirs.written;
    changes |= l.shared && counter(id) != counted;
    changes |= theirs.handled && !l.handled;
    l.handled |= theirs.handled;
    l.ordered |= theirs.ordered;
    l.lock |= theirs.lock;
    l.plain |= theirs.plain;
    l.readers |= theirs.readers;
    l.writers |= theirs.writers;
    l.freers |= theirs.freers;
    changes |= theirs.shared ? share(id) : share_if_used_by_several(id);
  }
  for (const freed_range& theirs : from->get_all<freed_range>()) {
    freed_range& mine = range_at(theirs.begin, theirs.end);
    mine.freers |= theirs.freers;
    changes |= apply_frees(mine);
  }
  const auto begun = from->get<std::array<u64, N_DOMAINS>>();
  const auto waited = from->get<std::array<u64, N_DOMAINS>>();
  for (unsigned d = 0; d < N_DOMAINS; d++) {
    const u64 before = begun_[d] & waited_[d];
    begun_[d] |= begun[d];
    waited_[d] |= waited[d];
    changes |= (begun_[d] & waited_[d]) != before;
  }
  return changes;
}

} // namespace racewalk::explore
