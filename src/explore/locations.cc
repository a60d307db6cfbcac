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

bool locations::note_use(u16 id, unsigned thread, bool writes) {
  location& l = all_[id];
  if (l.shared) return false;
  const u32 me = u32{1} << thread;
  (writes ? l.writers : l.readers) |= me;
  const u32 users = l.readers | l.writers;
  const bool several = (users & (users - 1)) != 0;
  if ((l.writers && several) || (l.freers && (users | l.freers) != me)) return share(id);
  return false;
}

bool locations::note_free(const void* p, u64 bytes, unsigned thread) {
  const char* begin = static_cast<const char*>(p);
  const u32 me = u32{1} << thread;
  freed_range* range = nullptr;
  for (freed_range& f : freed_)
    if (f.begin == begin) range = &f;
  if (!range) {
    freed_.push_back({begin, begin + bytes, 0});
    range = &freed_.back();
  }
  if (range->freers & me) return false;
  range->freers |= me;
  bool changes = false;
  for (u16 id = 0; id < all_.size(); id++) {
    location& l = all_[id];
    if (l.addr < begin || l.addr >= begin + bytes) continue;
    l.freers |= me;
    if ((l.readers | l.writers) & ~me) changes |= share(id);
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

} // namespace racewalk::explore
