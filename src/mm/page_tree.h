// A file's pages in memory, by index: a radix tree (i_pages of an address_space, Linux's xarray).
//
// A node is a frame of words, as a page table is. Changes are made under xa_lock; look-ups take no lock. A
// node, once it is in the tree, stays until the file goes, so a look-up never meets one that was freed; what
// the word that it finds is worth, it asks the folio (filemap_get_folio). The tree grows at the top: what was
// the top node becomes the first child of a new one, and a look-up that still begins at the old one finds
// what that holds.
#pragma once

#include "machine/machine.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What the tree holds for one index: nothing, a folio, the slot of the swap file that has the page, or a
/// mark that keeps others from putting a folio there.
///
/// Each index of a folio of several pages holds its head.
struct xa_entry {
  u64 val = 0;

  static constexpr unsigned PFN_SHIFT = 8;
  static constexpr u64 FOLIO = BIT(0);
  static constexpr u64 RETRY = BIT(1);     ///< no folio, and none may be added: its owner is at work here
  static constexpr u64 DIRTY = BIT(2);     ///< to be found by writeback (PAGECACHE_TAG_DIRTY)
  static constexpr u64 WRITEBACK = BIT(3); ///< on its way to the disk
  static constexpr u64 MARKS = DIRTY | WRITEBACK;
  static constexpr u64 SWAP = BIT(4); ///< no folio, but a slot (shmem.h)

  bool none() const { return val == 0; }
  bool is_folio() const { return (val & FOLIO) != 0; }
  bool is_retry() const { return val == RETRY; }
  bool is_swap() const { return (val & SWAP) != 0; }
  /// Only if is_swap().
  u64 slot() const { return val >> PFN_SHIFT; }
  /// Only if is_folio().
  struct folio* folio() const {
    return reinterpret_cast<struct folio*>(pfn_to_page(val >> PFN_SHIFT));
  }
  /// The same folio, or the same absence of one; marks come and go.
  bool same(xa_entry other) const { return ((val ^ other.val) & ~MARKS) == 0; }

  static xa_entry of(const struct folio* folio) { return {folio_pfn(folio) << PFN_SHIFT | FOLIO}; }
  static xa_entry swapped(u64 slot) { return {slot << PFN_SHIFT | SWAP}; }
};
inline constexpr xa_entry XA_RETRY_ENTRY{xa_entry::RETRY};

class page_tree {
 public:
  page_tree() = default;
  page_tree(const page_tree&) = delete;
  page_tree& operator=(const page_tree&) = delete;

  /// What is at the index. Any lock or none: it may be stale when it arrives.
  xa_entry load(u64 index, site s = RW_HERE) const;
  /// The first entry that is not none at `*index` or after it, but not after `last`; the index is moved to
  /// it. None if there is none.
  xa_entry find(u64* index, u64 last, site s = RW_HERE) const;

  /// Makes room at the index. False when memory is short. Caller holds xa_lock.
  [[nodiscard]] bool reserve(u64 index);
  /// Replaces what is at an index where reserve() has made room, and returns it. Caller holds xa_lock.
  xa_entry store(u64 index, xa_entry entry, site s = RW_HERE);
  /// Sets and clears marks of a folio's entry. Caller holds xa_lock.
  void set_mark(u64 index, u64 mark, site s = RW_HERE);
  void clear_mark(u64 index, u64 mark, site s = RW_HERE);

  /// Frees the nodes. Nobody uses the tree any more, and it holds nothing.
  void destroy();

  /// Calls visit(variable, index) for the word that holds an index, of the first `nr` those that have one:
  /// for who tells about accesses to them.
  template <class Visit> void for_each_variable(u64 nr, Visit&& visit) const {
    u64 unused = 0;
    for (u64 index = 0; index < nr; ++index)
      if (const place at = lookup(index, &unused, RW_HERE); at.found) visit(at.slot.get(), index);
  }

  spinlock_t xa_lock; ///< innermost but for the allocator's: under the ptl

 private:
  static constexpr unsigned HEIGHT_BITS = 8;

  struct place {
    bool found;
    ref<u64> slot;
  };
  static unsigned fanout_bits();
  static bool covers(u64 head, u64 index);
  place lookup(u64 index, u64* skip_to, site s) const;
  ref<u64> slot_of(u64 index, site s) const;
  static void free_node(pfn_t node, unsigned height);

  word_t head_; ///< the top node's pfn, and below it how many levels there are; 0: no node yet
};

} // namespace racewalk::inline RACEWALK_BACKEND
