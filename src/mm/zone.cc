// Lock order: a thread's list or the zeroed frames, then the zone.
#include "mm/zone.h"

#include <algorithm>

#include "arch/pgtable.h"
#include "mm/clear_page.h"

namespace racewalk::inline RACEWALK_BACKEND {

zone::zone(std::byte* frames, pfn_t first, u64 count, unsigned explored_slots)
    : frames_(frames), first_(first), count_(count - u64{explored_slots} * hpage_pmd_nr()),
      explored_slots_(explored_slots), blocks_(new block[count_]) {
  free_list_.fill(NIL);
  spin_guard guard(lock_);
  // the largest aligned blocks that fit; frame numbers are relative to the zone, alignment is not
  for (u64 i = 0; i < count_;) {
    unsigned order = MAX_ORDER;
    while (((first + i) & ((u64{1} << order) - 1)) != 0 || i + (u64{1} << order) > count_)
      --order;
    link(static_cast<u32>(i), order);
    i += u64{1} << order;
  }
  free_ = count_;
}

void zone::link(u32 frame, unsigned order) {
  const u32 head = free_list_[order];
  blocks_[frame] = {head, NIL, static_cast<u8>(order)};
  if (head != NIL) blocks_[head].prev = frame;
  free_list_[order] = frame;
}

void zone::unlink(u32 frame) {
  const block b = blocks_[frame];
  (b.prev == NIL ? free_list_[b.order] : blocks_[b.prev].next) = b.next;
  if (b.next != NIL) blocks_[b.next].prev = b.prev;
  blocks_[frame].order = NOT_FREE;
}

u32 zone::take(unsigned order) {
  unsigned o = order;
  while (o <= MAX_ORDER && free_list_[o] == NIL)
    ++o;
  if (o > MAX_ORDER) return NIL;
  const u32 frame = free_list_[o];
  unlink(frame);
  while (o > order) { // give the upper halves back
    --o;
    link(frame + (u32{1} << o), o);
  }
  free_ -= u64{1} << order;
  return frame;
}

void zone::give(u32 frame, unsigned order) {
  free_ += u64{1} << order;
  for (; order < MAX_ORDER; ++order) {
    const pfn_t buddy_pfn = (first_ + frame) ^ (pfn_t{1} << order);
    if (buddy_pfn < first_ || buddy_pfn - first_ >= count_) break;
    const auto buddy = static_cast<u32>(buddy_pfn - first_);
    if (blocks_[buddy].order != order) break;
    unlink(buddy);
    frame = std::min(frame, buddy);
  }
  link(frame, order);
}

void zone::refill(per_thread_pages& pcp, bool zeroed) {
  {
    spin_guard guard(lock_);
    while (pcp.count < PCP_BATCH) {
      const u32 frame = take(0);
      if (frame == NIL) break;
      pcp.frame[pcp.count++] = frame;
    }
    low_.store(free_ < watermark_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  pcp.zeroed = 0;
  if (zeroed) {
    // nobody has used them for a while, and who wants zeros once wants more of them
    for (unsigned i = 0; i < pcp.count; ++i)
      clear_cold(frames_ + ((first_ + pcp.frame[i]) << PAGE_SHIFT), PAGE_SIZE);
    clear_cold_done();
    pcp.zeroed = pcp.count;
  }
  // lowest on top: neighbours in time become neighbours in memory
  std::reverse(pcp.frame.begin(), pcp.frame.begin() + pcp.count);
}

void zone::spill(per_thread_pages& pcp, unsigned frames) {
  spin_guard guard(lock_);
  // the coldest ones, from the bottom
  for (unsigned i = 0; i < frames; ++i)
    give(pcp.frame[i], 0);
  std::copy(pcp.frame.begin() + frames, pcp.frame.begin() + pcp.count, pcp.frame.begin());
  pcp.count -= frames;
  pcp.zeroed -= std::min(pcp.zeroed, frames);
}

zone::per_thread_pages& zone::local_pages() {
  static std::atomic<unsigned> threads{0};
  thread_local const unsigned mine = threads.fetch_add(1, std::memory_order_relaxed);
  return pcp_[mine % pcp_.size()];
}

pfn_t zone::explored_block(unsigned slot) const {
  return slot < explored_slots_ ? first_ + count_ + u64{slot} * hpage_pmd_nr() : NO_FRAME;
}

zone::block_found zone::rmqueue(unsigned order, bool zeroed) {
  if (order == 0) {
    per_thread_pages& pcp = local_pages();
    spin_guard guard(pcp.lock);
    if (pcp.count == 0) refill(pcp, zeroed);
    if (pcp.count > 0) {
      const u32 frame = pcp.frame[--pcp.count];
      const bool is_zeroed = pcp.count < pcp.zeroed;
      pcp.zeroed = std::min(pcp.zeroed, pcp.count);
      return {first_ + frame, is_zeroed};
    }
  } else {
    spin_guard guard(lock_);
    const u32 frame = take(order);
    if (frame != NIL) return {first_ + frame, false};
  }
  // what is missing may be in the lists
  drain_all_pages();
  spin_guard guard(lock_);
  const u32 frame = take(order);
  return {frame == NIL ? NO_FRAME : first_ + frame, false};
}

void zone::refill_zeroed(per_thread_pages& pcp) {
  {
    spin_guard guard(zeroed_lock_);
    while (pcp.kept_zeroed < ZEROED_BATCH && zeroed_count_ > 0)
      pcp.zeroed_frame[pcp.kept_zeroed++] = zeroed_[--zeroed_count_];
  }
  if (pcp.kept_zeroed > 0) return;
  // Neighbours: page tables cannot move, and spread over all memory they would be in the way of every huge
  // page (compaction.h).
  u32 first = NIL;
  {
    spin_guard guard(lock_);
    first = take(ZEROED_BATCH_ORDER);
  }
  if (first == NIL) return;
  clear_cold(frames_ + ((first_ + first) << PAGE_SHIFT), PAGE_SIZE << ZEROED_BATCH_ORDER);
  clear_cold_done();
  for (; pcp.kept_zeroed < ZEROED_BATCH; ++pcp.kept_zeroed)
    pcp.zeroed_frame[pcp.kept_zeroed] = first + ZEROED_BATCH - 1 - pcp.kept_zeroed; // lowest on top
}

void zone::spill_zeroed(per_thread_pages& pcp, unsigned frames) {
  {
    spin_guard guard(zeroed_lock_);
    for (; frames > 0 && zeroed_count_ < MAX_ZEROED; --frames)
      zeroed_[zeroed_count_++] = pcp.zeroed_frame[--pcp.kept_zeroed];
  }
  spin_guard guard(lock_);
  for (; frames > 0; --frames)
    give(pcp.zeroed_frame[--pcp.kept_zeroed], 0);
}

pfn_t zone::take_zeroed() {
  per_thread_pages& pcp = local_pages();
  spin_guard guard(pcp.lock);
  if (pcp.kept_zeroed == 0) refill_zeroed(pcp);
  return pcp.kept_zeroed == 0 ? NO_FRAME : first_ + pcp.zeroed_frame[--pcp.kept_zeroed];
}

void zone::give_zeroed(pfn_t pfn) {
  per_thread_pages& pcp = local_pages();
  spin_guard guard(pcp.lock);
  if (pcp.kept_zeroed == ZEROED_HIGH) spill_zeroed(pcp, ZEROED_BATCH);
  pcp.zeroed_frame[pcp.kept_zeroed++] = static_cast<u32>(pfn - first_);
}

void zone::free_block(pfn_t pfn, unsigned order) {
  const auto frame = static_cast<u32>(pfn - first_);
  if (order == 0) {
    per_thread_pages& pcp = local_pages();
    spin_guard guard(pcp.lock);
    if (pcp.count == PCP_HIGH) spill(pcp, PCP_BATCH);
    pcp.frame[pcp.count++] = frame;
  } else {
    spin_guard guard(lock_);
    give(frame, order);
  }
}

template <class F> void zone::for_each_free_in(pfn_t first, F&& visit) const {
  if (first < first_ || first + hpage_pmd_nr() > first_ + count_) return;
  const auto end = static_cast<u32>(first - first_ + hpage_pmd_nr());
  for (auto frame = static_cast<u32>(first - first_); frame < end;) {
    const unsigned order = blocks_[frame].order; // a larger block than this is not cut
    if (order <= hpage_pmd_order()) visit(frame, order);
    frame += order <= hpage_pmd_order() ? u32{1} << order : 1;
  }
}

u64 zone::nr_free_in(pfn_t first) const {
  spin_guard guard(lock_);
  u64 frames = 0;
  for_each_free_in(first, [&](u32, unsigned order) { frames += u64{1} << order; });
  return frames;
}

void zone::claim_free(pfn_t first, claimed_frames& claimed) {
  spin_guard guard(lock_);
  for_each_free_in(first, [&](u32 frame, unsigned order) REQUIRES(lock_) {
    unlink(frame);
    free_ -= u64{1} << order;
    for (u32 i = 0; i < u32{1} << order; ++i)
      claimed.set(first_ + frame + i - first);
  });
}

void zone::give_claimed(pfn_t first, const claimed_frames& claimed) {
  spin_guard guard(lock_);
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i)
    if (claimed.test(i)) give(static_cast<u32>(first + i - first_), 0);
}

void zone::drain_all_pages() {
  for (per_thread_pages& pcp : pcp_) {
    spin_guard guard(pcp.lock);
    if (pcp.count > 0) spill(pcp, pcp.count);
    if (pcp.kept_zeroed > 0) spill_zeroed(pcp, pcp.kept_zeroed);
  }
  spin_guard zeroed_guard(zeroed_lock_);
  spin_guard guard(lock_);
  while (zeroed_count_ > 0)
    give(zeroed_[--zeroed_count_], 0);
}

u64 zone::nr_free() const {
  u64 frames = 0;
  for (per_thread_pages& pcp : pcp_) {
    spin_guard guard(pcp.lock);
    frames += pcp.count + pcp.kept_zeroed;
  }
  {
    spin_guard guard(zeroed_lock_);
    frames += zeroed_count_;
  }
  spin_guard guard(lock_);
  return frames + free_;
}

} // namespace racewalk::inline RACEWALK_BACKEND
