// Equal pages of anonymous memory become one (M20; Linux's mm/ksm.c).
//
// A page is merged in steps: it is made read-only and clean everywhere (write_protect_page), compared with
// the page that stands for this content, and if they are equal its entry is made to map that one
// (replace_page). From then on a store takes a copy, as after a fork. What is kept true:
//  - Nobody stores to a page from the comparison on: the entry is flushed where any TLB may still let stores
//    through, and a page to which somebody holds a reference is left alone.
//  - The page that stands for others is never stored to: no fault keeps it, even if nobody else uses it
//    (wp_can_reuse_anon_page()).
//
// Its mapping is its stable node, which has an item for each place where it has been merged: the anon_vma and
// the index that a page of the mm's own would have there. From these a walk comes to all its entries, also to
// those that fork and mremap have made since (rmap_walk_ksm()): so it is moved, and goes to the swap file, as
// any other. The node goes with it: a slot of the swap file keeps the node, and what is read from there
// stands for others again. A node is there as long as its page or slot is, or somebody keeps it to merge
// with.
//
// Items change under the folio lock. There is one before there is an entry, and it stays until nobody is
// about to make one there, and a walk along it finds none. Who makes an entry has a reference until the entry
// has its own: so the page stays what and where it is.
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Where a page that stands for others has been merged (Linux's ksm_rmap_item).
struct ksm_rmap_item {
  plain<anon_vma*> anon;
  plain<u64> index;
  plain<ksm_rmap_item*> next;
  atomic_t mergers; ///< who is about to make an entry there
};

/// What leads from a page that stands for others to its entries (Linux's ksm_stable_node).
struct ksm_stable_node {
  ksm_stable_node() = default;
  ksm_stable_node(const ksm_stable_node&) = delete;
  ksm_stable_node& operator=(const ksm_stable_node&) = delete;

  atomic_t refs{1};            ///< of its page, its slot, and whoever keeps it
  word_t kpfn;                 ///< the page's frame; 0: it has none just now, or for good
  plain<ksm_rmap_item*> items; ///< changes under the folio lock
  plain<u64> nr_items;
};

/// Null if memory is short; else with one reference.
[[nodiscard]] ksm_stable_node* ksm_alloc_node();
void ksm_get_node(ksm_stable_node& node);
void ksm_put_node(ksm_stable_node& node);
/// Whether only the caller has it: its page is gone for good.
[[nodiscard]] bool ksm_node_is_stale(const ksm_stable_node& node);
/// For a place that is about to be merged. Null if memory is short.
[[nodiscard]] ksm_rmap_item* alloc_rmap_item();

/// The node of a folio that is PG_ksm; null if it has none. Caller holds the folio lock, or a reference and
/// looks for one node only.
inline ksm_stable_node* folio_stable_node(const folio* folio) {
  return reinterpret_cast<ksm_stable_node*>(static_cast<uintptr_t>(folio->page.mapping.get()));
}
/// Makes a folio that nobody else uses the node's, which has none, and PG_ksm. Caller holds the folio lock.
void folio_set_stable_node(folio* folio, ksm_stable_node& node);
/// The node is that of another folio from now on, which nobody else uses. The old one is frozen.
void folio_migrate_ksm(folio* to, folio* from);
/// The folio, PG_ksm, is about to be free.
void folio_clear_stable_node(folio* folio);

/// The node's page, with a reference, with which it stays that; null if it has none just now.
[[nodiscard]] folio* ksm_get_folio(const ksm_stable_node& node);
/// Drops items that have come to lead nowhere. Caller has a reference to the node's page, and no folio lock.
void ksm_prune_items(ksm_stable_node& node, folio* kpage);

/// Merges the page at `addr`, of which the caller has a reference, with `kpage`, which is PG_ksm, of which he
/// has another one, and whose node has an item for the place. 0; -EBUSY if somebody uses the page, or
/// it is one that cannot be merged; -EFAULT if it is not mapped there any more; -EINVAL if its content
/// differs. Then it is as before, if perhaps read-only until the next store. Caller holds the region's
/// mmap_lock.
int try_to_merge_with_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page, folio* kpage);

/// The same with the node's page; `item`: a new one for the place, taken over; null: memory was short. Also
/// -ENOMEM, and -ENOENT if the node has no page just now.
int merge_with_stable_node(ksm_stable_node& node, vm_area_struct& vma, vaddr_t addr, page* page,
                           ksm_rmap_item* item);

/// Makes the page at `addr` one that stands for others, and a new node's; `item` as above. -ENOMEM; other
/// errors and locks as above.
int try_to_make_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page, ksm_stable_node& node,
                         ksm_rmap_item* item);

/// MADV_UNMERGEABLE: gives the mm pages of its own for those that stand for others in [start, end), also if
/// they are in the swap file. 0; -ENOMEM if memory is short, or a part is not mapped; -EIO if one cannot be
/// read. Caller holds no lock of the mm.
int unmerge_ksm_pages(mm_struct& mm, vaddr_t start, vaddr_t end);

/// The page at `addr`, with a reference, if it may be merged: a small one of anonymous memory. Null if there
/// is none. Caller holds the region's mmap_lock.
page* get_mergeable_page(vm_area_struct& vma, vaddr_t addr);

/// A number that pages of equal content have in common. Programs may store to the page meanwhile.
u64 calc_checksum(const page* page);

} // namespace racewalk::inline RACEWALK_BACKEND
