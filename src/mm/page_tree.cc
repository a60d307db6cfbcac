#include "mm/page_tree.h"

#include <bit>

#include "arch/pgtable.h"
#include "mm/page_alloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {
constexpr u64 height_of(u64 head) { return head & 0xff; }
} // namespace

unsigned page_tree::fanout_bits() { return static_cast<unsigned>(std::countr_zero(u64{ptrs_per_table()})); }

bool page_tree::covers(u64 head, u64 index) {
  const u64 bits = height_of(head) * fanout_bits();
  return head != 0 && (bits >= 64 || index >> bits == 0);
}

/// Where the index is. If there is no node for it, `skip_to` is the next index that may have one.
page_tree::place page_tree::lookup(u64 index, u64* skip_to, site s) const {
  auto [head, dep] = read_dep(head_, s);
  word_t* const nothing = nullptr;
  if (!covers(head, index)) {
    *skip_to = ~u64{0};
    return {false, {nothing, dep}};
  }
  const unsigned bits = fanout_bits();
  pfn_t node = head >> HEIGHT_BITS;
  for (auto height = static_cast<unsigned>(height_of(head));; --height) {
    const unsigned shift = bits * (height - 1);
    const ref<u64> slot{page_words(pfn_to_page(node)) + (index >> shift & (ptrs_per_table() - 1)), dep};
    if (height == 1) return {true, slot};
    const auto [child, read] = read_dep(slot, s);
    if (child == 0) {
      *skip_to = ((index >> shift) + 1) << shift;
      return {false, {nothing, read}};
    }
    node = child;
    dep = read;
  }
}

xa_entry page_tree::load(u64 index, site s) const {
  u64 unused = 0;
  const place at = lookup(index, &unused, s);
  return at.found ? xa_entry{READ_ONCE(at.slot, s)} : xa_entry{};
}

xa_entry page_tree::find(u64* index, u64 last, site s) const {
  for (u64 i = *index; i <= last;) {
    u64 skip_to = i + 1;
    const place at = lookup(i, &skip_to, s);
    const xa_entry entry = at.found ? xa_entry{READ_ONCE(at.slot, s)} : xa_entry{};
    if (!entry.none()) {
      *index = i;
      return entry;
    }
    if (skip_to <= i) break; // beyond the last index there can be
    i = skip_to;
  }
  return {};
}

bool page_tree::reserve(u64 index) {
  const unsigned bits = fanout_bits();
  u64 head = READ_ONCE(head_);
  while (!covers(head, index)) {
    page* top = pagetable_alloc(GFP_NOWAIT);
    if (top == nullptr) return false;
    if (head != 0) WRITE_ONCE(page_words(top)[0], head >> HEIGHT_BITS);
    head = page_to_pfn(top) << HEIGHT_BITS | (height_of(head) + 1);
    // The node's content before what leads to it, here and below: pairs with the address dependency of a
    // look-up.
    smp_wmb();
    WRITE_ONCE(head_, head);
  }
  word_t* node = page_words(pfn_to_page(head >> HEIGHT_BITS));
  for (auto height = static_cast<unsigned>(height_of(head)); height > 1; --height) {
    word_t& slot = node[index >> bits * (height - 1) & (ptrs_per_table() - 1)];
    u64 child = READ_ONCE(slot);
    if (child == 0) {
      page* below = pagetable_alloc(GFP_NOWAIT);
      if (below == nullptr) return false;
      child = page_to_pfn(below);
      smp_wmb(); // what it holds, then the way to it: pairs with the address dependency of look-ups
      WRITE_ONCE(slot, child);
    }
    node = page_words(pfn_to_page(child));
  }
  return true;
}

ref<u64> page_tree::slot_of(u64 index, site s) const {
  u64 unused = 0;
  const place at = lookup(index, &unused, s);
  VM_BUG_ON(!at.found, "INV-REF", "the page cache has no room for what it is to hold", s);
  return at.slot;
}

xa_entry page_tree::store(u64 index, xa_entry entry, site s) {
  const ref<u64> slot = slot_of(index, s);
  const xa_entry old{READ_ONCE(slot, s)};
  // release: who finds the folio without a lock finds it as it is now. Pairs with the address dependency from
  // the entry to the folio in filemap_get_folio().
  smp_store_release(slot, entry.val, s);
  return old;
}

void page_tree::set_mark(u64 index, u64 mark, site s) {
  const ref<u64> slot = slot_of(index, s);
  WRITE_ONCE(slot, READ_ONCE(slot, s) | mark, s);
}

void page_tree::clear_mark(u64 index, u64 mark, site s) {
  const ref<u64> slot = slot_of(index, s);
  // release: what came before it is seen by who finds the mark gone. Pairs with the read barrier in
  // filemap_fdatawait_range().
  smp_store_release(slot, READ_ONCE(slot, s) & ~mark, s);
}

void page_tree::free_node(pfn_t node, unsigned height) {
  page* frame = pfn_to_page(node);
  for (u64 i = 0; i < ptrs_per_table(); ++i) {
    const u64 word = READ_ONCE(page_words(frame)[i]);
    if (word == 0) continue;
    VM_BUG_ON(height == 1, "INV-REF", "a file goes that still has pages in memory");
    free_node(word, height - 1);
    WRITE_ONCE(page_words(frame)[i], 0); // as pagetable_free() wants it
  }
  pagetable_free(frame);
}

void page_tree::destroy() {
  const u64 head = READ_ONCE(head_);
  if (head == 0) return;
  free_node(head >> HEIGHT_BITS, static_cast<unsigned>(height_of(head)));
  WRITE_ONCE(head_, 0);
}

} // namespace racewalk::inline RACEWALK_BACKEND
