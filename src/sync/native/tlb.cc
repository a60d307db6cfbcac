// Fills, and invalidation from this and from other CPUs.
#include "sync/native/tlb.h"

#include <algorithm>

#include "sync/native/smp.h"

namespace racewalk::inline native {

namespace {

/// How often a CPU that is running is looked at before it is stopped; about 0.5 us.
constexpr unsigned PATIENCE = 12;
/// A CPU that did not answer so many times in a row is given less time, except every so many times.
constexpr unsigned HOPELESS = 4, RETRY = 32;

} // namespace

tlb_t::tlb_t(std::byte* frames, std::byte* tables)
    : small_(reinterpret_cast<entry*>(tables)), huge_(small_ + (1U << SMALL_BITS)), frames_(frames) {}

// ---- walks -----------------------------------------------------------------------------------------------

tlb_t::walk_token tlb_t::walk_begin(site) {
  for (spin_wait wait;; wait.once()) {
    in_access_.store(1, std::memory_order_relaxed);
    light_barrier(); // pairs with heavy_barrier() in smp_call_function_many()
    u32 seq = flush_seq_.load(std::memory_order_acquire);
    if (!raised(ATTENTION) && !(seq & 1)) {
      rcu_read_lock(); // a table that the walk is in is not freed
      return {seq};
    }
    in_access_.store(0, std::memory_order_release);
    acknowledge();
    poll_interrupts();
  }
}

void tlb_t::walk_end(site) {
  rcu_read_unlock();
  in_access_.store(0, std::memory_order_release); // pairs with in_access()
}

void tlb_t::fill(walk_token token, vaddr_t va, const mapping& m) {
  const u64 size = m.huge ? HUGE_SIZE : SMALL_SIZE;
  const vaddr_t page = va & ~(size - 1);
  const u64 frame = (m.pfn << SMALL_SHIFT) & ~(size - 1);
  entry& e = m.huge ? huge_entry(va) : small_entry(va);

  // stores through what was here are done before it is gone; pairs with remove_from(), which may find nothing
  e.tag.store(0, std::memory_order_release);
  e.addend.store(reinterpret_cast<u64>(frames_ + frame) - page, std::memory_order_relaxed);
  // before the tag, so that an invalidator that sees the tag sees them too
  if (m.writable) has_writable_.store(true, std::memory_order_relaxed);
  filled_.add(va);
  not_zeroed_.add(va);
  if (m.huge && !raised(HAS_HUGE)) raise(HAS_HUGE);
  const u64 control = control_.load(std::memory_order_relaxed) & (EPOCH_MASK | HAS_HUGE);
  const u64 tag = page | control | (m.writable ? 0 : READ_ONLY);
  e.tag.exchange(tag); // full barrier: pairs with lock_flushes(); one of the two sees the other
  if (flush_seq_.load(std::memory_order_acquire) != token.flush_seq)
    e.tag.store(0, std::memory_order_relaxed);
}

// ---- invalidation ----------------------------------------------------------------------------------------

u32 tlb_t::lock_flushes() {
  for (spin_wait wait;; wait.once()) {
    u32 seq = flush_seq_.load(std::memory_order_relaxed);
    // full barrier: pairs with the exchange in fill()
    if (!(seq & 1) && flush_seq_.compare_exchange_strong(seq, seq + 1)) return seq + 1;
    poll_interrupts(); // whoever holds it may be waiting for this CPU
  }
}

void tlb_t::unlock_flushes(u32 seq) { flush_seq_.store(seq + 1, std::memory_order_release); }

void tlb_t::clear_tables() {
  for (vaddr_t at = 0; at < REGIONS * HUGE_SIZE; at += HUGE_SIZE) {
    if (!not_zeroed_.has(at)) continue;
    huge_entry(at).tag.store(0, std::memory_order_relaxed);
    for (vaddr_t va = at; va < at + HUGE_SIZE; va += SMALL_SIZE)
      small_entry(va).tag.store(0, std::memory_order_relaxed);
  }
  not_zeroed_.clear();
}

void tlb_t::next_epoch() {
  if ((control_.load(std::memory_order_relaxed) & EPOCH_MASK) == EPOCH_MASK) {
    // epochs start again: no entry of an earlier round may be left. Meanwhile it is 0, which no entry has
    control_.fetch_and(~EPOCH_MASK);
    clear_tables();
  }
  control_.fetch_and(~HAS_HUGE);
  control_.fetch_add(EPOCH_ONE);
  has_writable_.store(false, std::memory_order_relaxed);
  filled_.clear();
}

bool tlb_t::remove_from(entry& e, vaddr_t page) const {
  constexpr u64 OTHER_BITS = READ_ONLY | HAS_HUGE;
  const u64 tag = e.tag.load(std::memory_order_relaxed);
  const u64 want = page | (control_.load(std::memory_order_relaxed) & EPOCH_MASK);
  if ((tag & ~OTHER_BITS) != want) return false;
  e.tag.store(0, std::memory_order_relaxed);
  return !(tag & READ_ONLY) || has_spans_.load(std::memory_order_relaxed);
}

bool tlb_t::remove(const tlb_range& range) {
  bool in_use = false;
  for (vaddr_t at = range.start, next; at < range.end; at = next) {
    next = (at | (HUGE_SIZE - 1)) + 1;
    if (!filled_.has(at)) continue;
    if (range.levels & 2) in_use |= remove_from(huge_entry(at), at & ~(HUGE_SIZE - 1));
    if (range.levels & 1)
      for (vaddr_t va = at & ~(SMALL_SIZE - 1); va < std::min(range.end, next); va += SMALL_SIZE)
        in_use |= remove_from(small_entry(va), va);
  }
  return in_use;
}

void tlb_t::invalidate(const tlb_range& range) {
  if (few_entries(range))
    remove(range);
  else
    invalidate_all();
}

void tlb_t::invalidate_all() {
  u32 seq = lock_flushes();
  next_epoch();
  unlock_flushes(seq);
}

void tlb_t::invalidate_remote(const tlb_range& range) {
  u32 seq = lock_flushes();
  bool in_use = has_writable_.load(std::memory_order_relaxed) || has_spans_.load(std::memory_order_relaxed);
  if (few_entries(range))
    in_use = remove(range);
  else
    next_epoch();
  if (in_use) drain_accesses();
  unlock_flushes(seq);
}

void tlb_t::invalidate_device(unsigned, const tlb_range& range, site) {
  const u32 seq = lock_flushes(); // a walk that is under way fills nothing
  if (few_entries(range))
    remove(range);
  else
    next_epoch();
  drain_accesses();
  unlock_flushes(seq);
}

// Excludes invalidations: an earlier one's removals are seen by the span, a later one sees has_spans_.
void tlb_t::expect_spans() {
  u32 seq = lock_flushes();
  has_spans_.store(true, std::memory_order_relaxed);
  unlock_flushes(seq);
}

void tlb_t::drain_accesses() {
  raise(FLUSH_PENDING); // full barrier: an access that begins from here on misses
  unsigned patience = unanswered_ < HOPELESS || unanswered_ % RETRY == 0 ? PATIENCE : 1;
  for (unsigned i = 0; i < patience; ++i) {
    if (!raised(FLUSH_PENDING)) {
      unanswered_ = 0;
      return;
    }
    poll_interrupts();
    cpu_relax();
  }
  ++unanswered_;
  heavy_barrier(); // pairs with light_barrier() in bracketed(): in_access, or the access sees FLUSH_PENDING
  for (spin_wait wait; in_access() && raised(FLUSH_PENDING); wait.once())
    poll_interrupts();
  lower(FLUSH_PENDING);
}

void tlb_t::acknowledge() {
  if (raised(FLUSH_PENDING)) lower(FLUSH_PENDING); // full barrier: every store so far is visible first
}

} // namespace racewalk::inline native
