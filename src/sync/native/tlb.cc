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

tlb_t::tlb_t(std::byte* frames)
    : small_memory_(sizeof(slot_t) << SMALL_BITS), huge_memory_(sizeof(slot_t) << HUGE_BITS),
      small_(reinterpret_cast<slot_t*>(small_memory_.data())), huge_(reinterpret_cast<slot_t*>(huge_memory_.data())),
      frames_(frames) {}

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
    poll_interrupts();
  }
}

void tlb_t::walk_end(site) {
  rcu_read_unlock();
  in_access_.store(0, std::memory_order_release); // pairs with in_access()
}

void tlb_t::fill(walk_token token, vaddr_t va, const mapping& m) {
  pfn_t pfn = m.huge ? m.pfn & ~((pfn_t{1} << (HUGE_SHIFT - SMALL_SHIFT)) - 1) : m.pfn;
  u64 epoch = control_.load(std::memory_order_relaxed) & EPOCH_MASK;
  u64 e = (pfn << PFN_SHIFT) | (m.writable ? WRITABLE : 0) | epoch | (va >> TAG_SHIFT);
  slot_t& slot = m.huge ? huge_slot(va) : small_slot(va);

  // before the exchange, so that an invalidator that sees the entry sees them too
  if (m.huge) has_huge_.store(true, std::memory_order_relaxed);
  if (m.writable) has_writable_.store(true, std::memory_order_relaxed);
  note_filled(va);
  slot.exchange(e); // full barrier: pairs with lock_flushes(); one of the two sees the other
  if (flush_seq_.load(std::memory_order_acquire) != token.flush_seq) slot.compare_exchange_strong(e, 0);
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

void tlb_t::next_epoch() {
  if ((control_.load(std::memory_order_relaxed) & EPOCH_MASK) == EPOCH_MASK) {
    // epochs start again: no entry of an earlier round may be left. Meanwhile the epoch is 0, which nothing has
    control_.fetch_and(~EPOCH_MASK);
    for (u64 i = 0; i < u64{1} << SMALL_BITS; ++i) small_[i].store(0, std::memory_order_relaxed);
    for (u64 i = 0; i < u64{1} << HUGE_BITS; ++i) huge_[i].store(0, std::memory_order_relaxed);
  }
  control_.fetch_add(EPOCH_ONE);
  has_huge_.store(false, std::memory_order_relaxed);
  has_writable_.store(false, std::memory_order_relaxed);
  for (auto& word : filled_) word.store(0, std::memory_order_relaxed);
}

bool tlb_t::remove_from(slot_t& slot, vaddr_t va) {
  u64 e = slot.load(std::memory_order_relaxed);
  u64 want = (control_.load(std::memory_order_relaxed) & EPOCH_MASK) | (va >> TAG_SHIFT);
  constexpr u64 KEY = EPOCH_MASK | (EPOCH_ONE - 1);
  if ((e & KEY) != want) return false;
  slot.store(0, std::memory_order_relaxed);
  return (e & WRITABLE) != 0;
}

bool tlb_t::remove(const tlb_range& range) {
  constexpr u64 HUGE_SIZE = u64{1} << HUGE_SHIFT;
  bool stores = false;
  for (vaddr_t at = range.start; at < range.end; at = (at | (HUGE_SIZE - 1)) + 1) {
    if (!was_filled(at)) continue;
    if (range.levels & 2) stores |= remove_from(huge_slot(at), at);
    if (range.levels & 1)
      for (vaddr_t va = at, end = std::min(range.end, (at | (HUGE_SIZE - 1)) + 1); va < end; va += u64{1} << SMALL_SHIFT)
        stores |= remove_from(small_slot(va), va);
  }
  return stores;
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
  bool stores = has_writable_.load(std::memory_order_relaxed);
  if (few_entries(range))
    stores = remove(range);
  else
    next_epoch();
  if (stores) drain_stores();
  unlock_flushes(seq);
}

void tlb_t::drain_stores() {
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
  for (spin_wait wait; in_access() && raised(FLUSH_PENDING); wait.once()) poll_interrupts();
  lower(FLUSH_PENDING);
}

void tlb_t::acknowledge() {
  if (raised(FLUSH_PENDING)) lower(FLUSH_PENDING); // full barrier: every store so far is visible first
}

} // namespace racewalk::inline native
