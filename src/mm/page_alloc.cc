#include "mm/page_alloc.h"

#include "mm/clear_page.h"
#include "mm/compaction.h"
#include "mm/deferred_split.h"
#include "mm/ksm.h"
#include "mm/memremap.h"
#include "mm/page_table_check.h"
#include "mm/pgtable.h"
#include "mm/vmscan.h"

namespace racewalk::inline RACEWALK_BACKEND {

page_allocator::page_allocator(Machine& machine, unsigned explored_slots)
    : machine_(machine), zone_(machine.frames(), 1, machine.nr_pages() - 1, explored_slots) {
  machine.zone = &zone_;
  machine.huge_zero = &huge_zero_;
  struct page& zeros = machine.pages()[ZERO_PFN];
  WRITE_ONCE(zeros.flags, BIT(PG_reserved));
  atomic_set(zeros._refcount, 1); // nobody's to drop
}

page_allocator::~page_allocator() {
  rcu_barrier(); // page tables that are on their way back lie in the machine's memory
  machine_.zone = nullptr;
  machine_.huge_zero = nullptr;
}

namespace {

/// Makes one folio of 2^order pages. Nobody else can reach them yet.
void prep_compound_page(page* head, unsigned order, site s) {
  const u64 tail_word = page_to_pfn(head) << 1 | 1;
  for (u64 i = 1; i < u64{1} << order; ++i)
    // a block that comes back in one piece is as it was: leave the line clean
    if (READ_ONCE(head[i].compound_head, s) != tail_word) WRITE_ONCE(head[i].compound_head, tail_word, s);
  head->order.set(order);
}

void prep_new_page(page* page, unsigned order, site s) {
  WRITE_ONCE(page->flags, order > 0 ? BIT(PG_head) : 0, s);
  WRITE_ONCE(page->compound_head, 0, s);
  if (order > 0) prep_compound_page(page, order, s);
  // release: a lockless walker that takes a reference by a stale entry sees the folio as it is now (M3)
  smp_store_release(page->_refcount, 1, s);
}

/// Zeros a block that was just allocated.
void clear_pages(page* page, unsigned order, site s) {
  if (explored()) {
    for (u64 i = 0; i < u64{1} << order; ++i)
      for (unsigned word = 0; word < ptrs_per_table(); ++word)
        WRITE_ONCE(page_words(page + i)[word], 0, s);
  } else if (order == 0) {
    clear_warm(page_address(page), PAGE_SIZE); // what is not warm comes zeroed
  } else {
    clear_cold(page_address(page), PAGE_SIZE << order);
    clear_cold_done();
  }
}

/// Nobody may still depend on a page whose last reference is gone.
void free_pages_prepare(folio* folio, bool large, site s) {
  const page& page = folio->page;
  VM_BUG_ON(atomic_read(page._mapcount, s) != -1, "INV-REF", "a page was freed while it was mapped", s);
  const u64 flags = READ_ONCE(page.flags, s);
  VM_BUG_ON((flags & (BIT(PG_locked) | BIT(PG_writeback))) != 0, "INV-REF",
            "a page was freed while it was locked or under writeback", s);
  if ((flags & BIT(PG_ksm)) != 0) folio_clear_stable_node(folio);
  if (!large) return;
  VM_BUG_ON(atomic_read(page._entire_mapcount, s) != -1, "INV-REF", "a folio was freed while it was mapped",
            s);
  VM_BUG_ON(atomic_read(page._pincount, s) != 0, "INV-REF", "a folio was freed while it was pinned", s);
}

} // namespace

namespace {

constexpr unsigned MAX_RECLAIM_RETRIES = 16;

zone::block_found take_block(zone& zone, unsigned order, gfp_t gfp) {
  const bool zeroed = (gfp & GFP_ZERO) != 0;
  zone::block_found block = zone.rmqueue(order, zeroed);
  if (block.pfn != zone::NO_FRAME || (gfp & GFP_NOWAIT) != 0) return block;
  // Tables are on their way back for 10 ms and more, as long as liburcu's thread sleeps: worth waiting for if
  // it is a page or none, and not for a huge page.
  if (order == 0 && zone.deferred_batches != 0) {
    rcu_barrier();
    block = zone.rmqueue(order, zeroed);
  }
  if (block.pfn == zone::NO_FRAME && order == hpage_pmd_order() && compact_memory())
    block = zone.rmqueue(order, zeroed);
  // others may be faster to take what this frees
  for (unsigned n = 0; block.pfn == zone::NO_FRAME && order == 0 && n < MAX_RECLAIM_RETRIES; ++n) {
    if (!try_to_free_pages()) break;
    block = zone.rmqueue(order, zeroed);
  }
  return block;
}

} // namespace

page* alloc_pages(unsigned order, gfp_t gfp, site s) {
  zone& zone = *machine().zone;
  zone::block_found block{zone::NO_FRAME, false};
  if (const auto slot = explored_allocation())
    block.pfn = zone.explored_block(*slot);
  else if (!zone.fail_page_alloc.should_fail())
    block = take_block(zone, order, gfp);
  if (block.pfn == zone::NO_FRAME) return nullptr;
  if (zone.is_low() && machine().pgdat != nullptr) wakeup_kswapd(*machine().pgdat);
  page* page = pfn_to_page(block.pfn);
  VM_BUG_ON(atomic_read(page->_refcount, s) != 0, "INV-REF", "somebody holds a reference to a free page", s);
  if ((gfp & GFP_ZERO) != 0 && !block.zeroed) clear_pages(page, order, s);
  prep_new_page(page, order, s);
  return page;
}

void free_unref_folio(folio* folio, site s) {
  if (is_zone_device_pfn(folio_pfn(folio))) return free_zone_device_page(&folio->page);
  const bool large = folio_test_large(folio, s);
  if (large) folio_unqueue_deferred_split(folio);
  free_pages_prepare(folio, large, s);
  const unsigned order = large ? folio_order(folio) : 0;
  if (page_table_checked()) page_table_check_free(folio_pfn(folio), u64{1} << order, s);
  if (explored()) {
    object_free(page_address(&folio->page), PAGE_SIZE << order, s);
    return;
  }
  folio->page.mapping.set(0); // whoever gets it next is nobody's until told
  machine().zone->free_block(folio_pfn(folio), order);
}

page* pagetable_alloc(gfp_t gfp, site s) {
  zone& zone = *machine().zone;
  const pfn_t zeroed = explored() ? zone::NO_FRAME : zone.take_zeroed();
  page* table = nullptr;
  if (zeroed == zone::NO_FRAME) {
    table = alloc_page(gfp | GFP_ZERO, s);
    if (table == nullptr) return nullptr;
    atomic_set(table->_refcount, 0, s);
  } else if (zone.fail_page_alloc.should_fail()) {
    zone.give_zeroed(zeroed);
    return nullptr;
  } else {
    table = pfn_to_page(zeroed);
    WRITE_ONCE(table->compound_head, 0, s);
  }
  WRITE_ONCE(table->flags, BIT(PG_table), s);
  return table;
}

void pagetable_free(page* table, site s) {
  if (explored())
    object_free(page_address(table), PAGE_SIZE, s);
  else
    machine().zone->give_zeroed(page_to_pfn(table));
}

void pagetables_deferred() {
  if (!explored()) ++machine().zone->deferred_batches;
}
void pagetables_arrived() {
  if (!explored()) --machine().zone->deferred_batches;
}

} // namespace racewalk::inline RACEWALK_BACKEND
