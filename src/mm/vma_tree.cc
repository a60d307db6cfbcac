// Ordering: a look-up follows root -> leaf -> area by acquire loads; each is published by a release store
// after what it points to was filled in. Everything else is relaxed: a torn view is a wrong answer, never a
// wild read.
#include "mm/vma_tree.h"

#include "mm/mm_types.h"
#include "mm/slab.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;

/// The number of the first `count` entries that start at or before `addr`.
template <class Entry> unsigned upper_bound(const Entry* entries, unsigned count, vaddr_t addr) {
  unsigned low = 0;
  while (count > 0) {
    const unsigned half = count / 2;
    if (entries[low + half].start.load(relaxed) <= addr) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

} // namespace

vma_tree::root::root(unsigned n) : capacity(n), leaves(kmalloc_objs<branch>(n)) {}
vma_tree::root::~root() { delete[] leaves; }

vma_tree::~vma_tree() {
  root* r = root_.load(relaxed);
  for (unsigned i = 0; r != nullptr && i < r->count.load(relaxed); ++i)
    delete r->leaves[i].child.load(relaxed);
  while (r != nullptr) {
    root* outgrown = r->outgrown;
    delete r;
    r = outgrown;
  }
  while (spare_ != nullptr) {
    leaf* next = spare_->next_spare;
    delete spare_;
    spare_ = next;
  }
}

vm_area_struct* vma_tree::lookup(vaddr_t addr) const {
  // pairs with the release store of root_ in grow_root()
  const root* r = root_.load(std::memory_order_acquire);
  if (r == nullptr) return nullptr;
  const unsigned leaves = upper_bound(r->leaves, r->count.load(relaxed), addr);
  if (leaves == 0) return nullptr;
  // pairs with the release store of child in split_leaf()
  const leaf* l = r->leaves[leaves - 1].child.load(std::memory_order_acquire);
  if (l == nullptr) return nullptr;
  const unsigned areas = upper_bound(l->areas, l->count.load(relaxed), addr);
  // pairs with the release store of vma in insert()
  return areas == 0 ? nullptr : l->areas[areas - 1].vma.load(std::memory_order_acquire);
}

bool vma_tree::find(vaddr_t addr, position& at) const {
  if (size_ == 0) return false;
  const root* r = root_.load(relaxed);
  const unsigned i = upper_bound(r->leaves, r->count.load(relaxed), addr) - 1;
  const leaf& l = leaf_at(i);
  const unsigned areas = upper_bound(l.areas, l.count.load(relaxed), addr);
  at = {i, areas - 1};
  return areas > 0;
}

vm_area_struct* vma_tree::find_vma(vaddr_t addr) const {
  if (size_ == 0) return nullptr;
  position at{};
  position next{0, 0};
  if (find(addr, at)) {
    vm_area_struct* vma = leaf_at(at.leaf).areas[at.area].vma.load(relaxed);
    if (vma->vm_end > addr) return vma;
    next = {at.leaf, at.area + 1};
  }
  const unsigned leaves = root_.load(relaxed)->count.load(relaxed);
  for (; next.leaf < leaves; next = {next.leaf + 1, 0}) {
    const leaf& l = leaf_at(next.leaf);
    if (next.area < l.count.load(relaxed)) return l.areas[next.area].vma.load(relaxed);
  }
  return nullptr;
}

vm_area_struct* vma_tree::find_vma_prev(vaddr_t addr) const {
  position at{};
  if (addr == 0 || !find(addr - 1, at)) return nullptr;
  const auto vma_at = [this](position p) { return leaf_at(p.leaf).areas[p.area].vma.load(relaxed); };
  vm_area_struct* vma = vma_at(at);
  if (vma->vm_end <= addr) return vma;
  return find(vma->vm_start - 1, at) && vma->vm_start != 0 ? vma_at(at) : nullptr;
}

bool vma_tree::preallocate() {
  if (spare_ == nullptr && (spare_ = kmalloc_obj<leaf>()) == nullptr) return false;
  const root* r = root_.load(relaxed);
  return (r != nullptr && r->count.load(relaxed) < r->capacity) || grow_root();
}

bool vma_tree::grow_root() {
  root* old = root_.load(relaxed);
  root* r = kmalloc_obj<root>(old == nullptr ? 4 : 2 * old->capacity);
  if (r == nullptr || r->leaves == nullptr) {
    delete r;
    return false;
  }
  const unsigned count = old == nullptr ? 0 : old->count.load(relaxed);
  for (unsigned i = 0; i < count; ++i) {
    r->leaves[i].start.store(old->leaves[i].start.load(relaxed), relaxed);
    r->leaves[i].child.store(old->leaves[i].child.load(relaxed), relaxed);
  }
  r->count.store(count, relaxed);
  r->outgrown = old;
  root_.store(r, std::memory_order_release); // pairs with the acquire load in lookup()
  return true;
}

/// Makes room at index `i` of `n` entries by shifting the tail up.
template <class Entry, class Field>
static void shift_up(Entry* entries, unsigned n, unsigned i, Field Entry::*field) {
  for (unsigned j = n; j > i; --j) {
    entries[j].start.store(entries[j - 1].start.load(relaxed), relaxed);
    (entries[j].*field).store((entries[j - 1].*field).load(relaxed), std::memory_order_release);
  }
}

/// Closes the gap at index `i` of `n` entries.
template <class Entry, class Field>
static void shift_down(Entry* entries, unsigned n, unsigned i, Field Entry::*field) {
  for (unsigned j = i; j + 1 < n; ++j) {
    entries[j].start.store(entries[j + 1].start.load(relaxed), relaxed);
    (entries[j].*field).store((entries[j + 1].*field).load(relaxed), std::memory_order_release);
  }
}

void vma_tree::split_leaf(unsigned i) {
  root& r = *root_.load(relaxed);
  leaf& full = leaf_at(i);
  leaf& upper = *spare_;
  spare_ = upper.next_spare;
  constexpr unsigned half = LEAF_AREAS / 2;
  for (unsigned j = 0; j < half; ++j) {
    upper.areas[j].start.store(full.areas[half + j].start.load(relaxed), relaxed);
    upper.areas[j].vma.store(full.areas[half + j].vma.load(relaxed), std::memory_order_release);
  }
  upper.count.store(half, relaxed);
  const unsigned count = r.count.load(relaxed);
  shift_up(r.leaves, count, i + 1, &branch::child);
  r.leaves[i + 1].start.store(upper.areas[0].start.load(relaxed), relaxed);
  r.leaves[i + 1].child.store(&upper, std::memory_order_release); // pairs with the acquire load in lookup()
  r.count.store(count + 1, relaxed);
  full.count.store(half, relaxed);
}

void vma_tree::insert(vm_area_struct& vma) {
  root& r = *root_.load(relaxed);
  if (r.count.load(relaxed) == 0) {
    leaf* first = spare_;
    spare_ = first->next_spare;
    first->count.store(0, relaxed);
    r.leaves[0].start.store(0, relaxed);
    r.leaves[0].child.store(first, std::memory_order_release); // pairs with the acquire load in lookup()
    r.count.store(1, relaxed);
  }
  unsigned i = upper_bound(r.leaves, r.count.load(relaxed), vma.vm_start) - 1;
  if (leaf_at(i).count.load(relaxed) == LEAF_AREAS) {
    split_leaf(i);
    i = upper_bound(r.leaves, r.count.load(relaxed), vma.vm_start) - 1;
  }
  leaf& l = leaf_at(i);
  const unsigned count = l.count.load(relaxed);
  const unsigned at = upper_bound(l.areas, count, vma.vm_start);
  shift_up(l.areas, count, at, &entry::vma);
  l.areas[at].start.store(vma.vm_start, relaxed);
  l.areas[at].vma.store(&vma, std::memory_order_release); // pairs with the acquire load in lookup()
  l.count.store(count + 1, relaxed);
  ++size_;
}

void vma_tree::drop_leaf(unsigned i) {
  root& r = *root_.load(relaxed);
  leaf* empty = &leaf_at(i);
  const unsigned count = r.count.load(relaxed);
  shift_down(r.leaves, count, i, &branch::child);
  if (i == 0) r.leaves[0].start.store(0, relaxed); // the first leaf takes every address below the second
  r.count.store(count - 1, relaxed);
  empty->next_spare = spare_;
  spare_ = empty;
}

void vma_tree::erase(vm_area_struct& vma) {
  position at{};
  find(vma.vm_start, at);
  leaf& l = leaf_at(at.leaf);
  const unsigned count = l.count.load(relaxed);
  shift_down(l.areas, count, at.area, &entry::vma);
  l.count.store(count - 1, relaxed);
  --size_;
  if (count > 1 && at.area == 0) set_boundary(at.leaf, l.areas[0].start.load(relaxed));
  if (count == 1 && root_.load(relaxed)->count.load(relaxed) > 1) drop_leaf(at.leaf);
}

void vma_tree::set_boundary(unsigned i, vaddr_t start) {
  if (i > 0) root_.load(relaxed)->leaves[i].start.store(start, relaxed);
}

void vma_tree::move_start(vm_area_struct& vma, vaddr_t start) {
  position at{};
  find(vma.vm_start, at);
  leaf_at(at.leaf).areas[at.area].start.store(start, relaxed);
  if (at.area == 0) set_boundary(at.leaf, start);
}

} // namespace racewalk::inline RACEWALK_BACKEND
