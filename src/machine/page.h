// struct page: what is known about a frame of memory; struct folio: the head page of one or more.
//
// One 64-byte line each, in an array beside the frames. Who changes what:
//   flags, counts     atomically, by anyone who holds a reference
//   compound_head     by the owner of the whole folio: at allocation and at split, while its count is frozen
//   mapping ... order by whoever holds the folio lock, or the allocator while the page is free
//   ptl               of a page-table page: guards its entries
// Invariant: _refcount 0 means free or frozen; nobody takes a reference to such a page.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Bits of page->flags.
enum pageflags : unsigned {
  PG_locked,     ///< the folio lock
  PG_writeback,  ///< its content is being written
  PG_referenced, ///< a call has used it
  PG_uptodate,
  PG_dirty,
  PG_lru,
  PG_active, ///< and another one has since
  PG_head,   ///< the first page of a folio of several
  PG_anon,   ///< anonymous memory
  PG_swapbacked,
  PG_swapcache,
  PG_anon_exclusive, ///< of the page, not the folio: only this mapping may write it (M33)
  PG_ksm,            ///< anonymous memory that stands for all pages with this content; never stored to
  PG_table,          ///< a page table
  PG_buddy,          ///< free, in the allocator's hands
  PG_reserved,
  PG_partially_mapped, ///< a huge page, of which a part has been unmapped, waits to be split
  PG_mappedtodisk,     ///< of a file: there is room on its disk for it
  PG_readahead,        ///< who comes here reads in order: the next pages are to be read (readahead.h)
  PG_idle,             ///< nobody has used it since somebody wanted to know (page_idle.h)
  PG_young,            ///< it was used: the entry's bit that said so has been cleared for page_idle.h
  NR_PAGEFLAGS,
};

/// What is known of its use besides what entries say.
inline constexpr u64 PAGE_USE_FLAGS =
    u64{1} << PG_referenced | u64{1} << PG_active | u64{1} << PG_idle | u64{1} << PG_young;

/// A field that is written by who holds the folio lock, or before anybody else can reach the page, and that
/// others may read without it: they ask again under a lock that keeps it still.
template <class T> class read_mostly {
 public:
  T get(site s = RW_HERE) const { return READ_ONCE(v_, s); }
  void set(T v, site s = RW_HERE) { WRITE_ONCE(v_, v, s); }

 private:
  shared<T> v_;
};

struct page {
  word_t flags;
  atomic_t _refcount;            ///< references, and small folios' pins times GUP_PIN_COUNTING_BIAS
  atomic_t _mapcount{-1};        ///< page-table entries that map this page, minus 1
  atomic_t _pincount;            ///< exact pins of a large folio; in its head
  atomic_t _entire_mapcount{-1}; ///< huge entries that map the whole folio, minus 1; in its head
  word_t compound_head;          ///< of a tail page: its head's pfn * 2 + 1; else 0
  read_mostly<u64> mapping;      ///< whose it is: an mm's (PG_anon) or a file's address_space
  read_mostly<u64> index;        ///< where in it
  plain<u64> private_;
  plain<u32> order; ///< log2 of the number of pages; in the head
  spinlock_t ptl;
};

/// The head page of one or more: what is counted, locked and mapped as one.
struct folio {
  struct page page;
};

// ---- frames (machine.h has the array) --------------------------------------------------------------------

struct page* pfn_to_page(pfn_t pfn);
pfn_t page_to_pfn(const struct page* page);
/// Where the frame's bytes are; `word_t`s when it is a page table.
void* page_address(const struct page* page);
word_t* page_words(const struct page* page);

/// The head of the folio that this page is part of; `found`: the read that the page was found by.
struct folio* page_folio(struct page* page, dep_t found, site s = RW_HERE);
inline struct folio* page_folio(struct page* page, site s = RW_HERE) { return page_folio(page, dep_t{}, s); }
/// The nth page of a folio.
inline struct page* folio_page(struct folio* folio, u64 n) { return &folio->page + n; }
inline unsigned folio_order(const struct folio* folio) { return folio->page.order.get(); }
inline u64 folio_nr_pages(const struct folio* folio) { return u64{1} << folio_order(folio); }
inline pfn_t folio_pfn(const struct folio* folio) { return page_to_pfn(&folio->page); }

// ---- flags -----------------------------------------------------------------------------------------------

// PageX, SetPageX, ClearPageX, TestSetPageX, TestClearPageX, and folio_test_x, folio_set_x, folio_clear_x,
// folio_test_set_x, folio_test_clear_x. Void ones order nothing; value-returning ones are full barriers.
#define RW_PAGEFLAG(Name, name)                                                                              \
  inline bool Page##Name(const struct page* p, site s = RW_HERE) {                                           \
    return test_bit(PG_##name, p->flags, s);                                                                 \
  }                                                                                                          \
  inline void SetPage##Name(struct page* p, site s = RW_HERE) { set_bit(PG_##name, p->flags, s); }           \
  inline void ClearPage##Name(struct page* p, site s = RW_HERE) { clear_bit(PG_##name, p->flags, s); }       \
  inline bool TestSetPage##Name(struct page* p, site s = RW_HERE) {                                          \
    return test_and_set_bit(PG_##name, p->flags, s);                                                         \
  }                                                                                                          \
  inline bool TestClearPage##Name(struct page* p, site s = RW_HERE) {                                        \
    return test_and_clear_bit(PG_##name, p->flags, s);                                                       \
  }                                                                                                          \
  inline bool folio_test_##name(const struct folio* f, site s = RW_HERE) { return Page##Name(&f->page, s); } \
  inline void folio_set_##name(struct folio* f, site s = RW_HERE) { SetPage##Name(&f->page, s); }            \
  inline void folio_clear_##name(struct folio* f, site s = RW_HERE) { ClearPage##Name(&f->page, s); }        \
  inline bool folio_test_set_##name(struct folio* f, site s = RW_HERE) {                                     \
    return TestSetPage##Name(&f->page, s);                                                                   \
  }                                                                                                          \
  inline bool folio_test_clear_##name(struct folio* f, site s = RW_HERE) {                                   \
    return TestClearPage##Name(&f->page, s);                                                                 \
  }

RW_PAGEFLAG(Locked, locked)
RW_PAGEFLAG(Writeback, writeback)
RW_PAGEFLAG(Referenced, referenced)
RW_PAGEFLAG(Uptodate, uptodate)
RW_PAGEFLAG(Dirty, dirty)
RW_PAGEFLAG(LRU, lru)
RW_PAGEFLAG(Active, active)
RW_PAGEFLAG(Head, head)
RW_PAGEFLAG(Anon, anon)
RW_PAGEFLAG(SwapBacked, swapbacked)
RW_PAGEFLAG(SwapCache, swapcache)
RW_PAGEFLAG(AnonExclusive, anon_exclusive)
RW_PAGEFLAG(Ksm, ksm)
RW_PAGEFLAG(Table, table)
RW_PAGEFLAG(Buddy, buddy)
RW_PAGEFLAG(Reserved, reserved)
RW_PAGEFLAG(PartiallyMapped, partially_mapped)
RW_PAGEFLAG(MappedToDisk, mappedtodisk)
RW_PAGEFLAG(Readahead, readahead)
RW_PAGEFLAG(Idle, idle)
RW_PAGEFLAG(Young, young)
#undef RW_PAGEFLAG

} // namespace racewalk::inline RACEWALK_BACKEND
