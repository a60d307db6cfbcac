// Ordering: a look-up follows root -> leaf -> area by address dependencies; each is published by a release
// store after what it points to was filled in. Everything else is relaxed: a torn view is a wrong answer,
// never a wild read.
#include "mm/vma_tree.h"

#include "mm/mm_types.h"
#include "mm/slab.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// The number of the first `count` entries that start at or before `addr`. `dep`: what led to them.
template <class Entry>
unsigned upper_bound(Entry* entries, unsigned count, vaddr_t addr, dep_t dep = {}, site s = RW_HERE) {
  unsigned low = 0;
  while (count > 0) {
    const unsigned half = count / 2;
    if (READ_ONCE(ref<vaddr_t>(&entries[low + half].start, dep), s) <= addr) {
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
  root* r = READ_ONCE(root_);
  for (unsigned i = 0; r != nullptr && i < READ_ONCE(r->count); ++i)
    delete READ_ONCE(r->leaves[i].child);
  while (r != nullptr) {
    root* outgrown = r->outgrown;
    delete r;
    r = outgrown;
  }
  while (leaf* l = spare_.get()) {
    spare_.set(l->next_spare.get());
    delete l;
  }
}

vm_area_struct* vma_tree::lookup(vaddr_t addr) const {
  // pairs with the release store of root_ in grow_root()
  const auto [r, to_root] = read_dep(root_);
  if (r == nullptr) return nullptr;
  const unsigned leaves = upper_bound(r->leaves, READ_ONCE(ref<unsigned>(&r->count, to_root)), addr, to_root);
  if (leaves == 0) return nullptr;
  // pairs with the release store of child in split_leaf()
  const auto [l, to_leaf] = read_dep(ref<leaf*>(&r->leaves[leaves - 1].child, to_root));
  if (l == nullptr) return nullptr;
  const unsigned areas = upper_bound(l->areas, READ_ONCE(ref<unsigned>(&l->count, to_leaf)), addr, to_leaf);
  // pairs with the release store of vma in insert(): the caller goes on by an address dependency
  return areas == 0 ? nullptr : read_dep(ref<vm_area_struct*>(&l->areas[areas - 1].vma, to_leaf)).value;
}

bool vma_tree::find(vaddr_t addr, position& at) const {
  if (size_.get() == 0) return false;
  const root& r = current_root();
  const unsigned i = upper_bound(r.leaves, READ_ONCE(r.count), addr) - 1;
  leaf& l = leaf_at(i);
  const unsigned areas = upper_bound(l.areas, READ_ONCE(l.count), addr);
  at = {i, areas - 1};
  return areas > 0;
}

vm_area_struct* vma_tree::find_vma(vaddr_t addr) const {
  if (size_.get() == 0) return nullptr;
  position at{};
  position next{0, 0};
  if (find(addr, at)) {
    vm_area_struct* vma = vma_at(at);
    if (vma->vm_end.get() > addr) return vma;
    next = {at.leaf, at.area + 1};
  }
  const unsigned leaves = READ_ONCE(current_root().count);
  for (; next.leaf < leaves; next = {next.leaf + 1, 0})
    if (next.area < READ_ONCE(leaf_at(next.leaf).count)) return vma_at(next);
  return nullptr;
}

vm_area_struct* vma_tree::find_vma_prev(vaddr_t addr) const {
  position at{};
  if (addr == 0 || !find(addr - 1, at)) return nullptr;
  vm_area_struct* vma = vma_at(at);
  if (vma->vm_end.get() <= addr) return vma;
  const vaddr_t start = vma->vm_start.get();
  return start != 0 && find(start - 1, at) ? vma_at(at) : nullptr;
}

bool vma_tree::preallocate() {
  if (spare_.get() == nullptr) {
    leaf* l = kmalloc_obj<leaf>();
    if (l == nullptr) return false;
    spare_.set(l);
  }
  const root* r = READ_ONCE(root_);
  return (r != nullptr && READ_ONCE(r->count) < r->capacity) || grow_root();
}

bool vma_tree::grow_root() {
  root* old = READ_ONCE(root_);
  root* r = kmalloc_obj<root>(old == nullptr ? 4 : 2 * old->capacity);
  if (r == nullptr || r->leaves == nullptr) {
    delete r;
    return false;
  }
  const unsigned count = old == nullptr ? 0 : READ_ONCE(old->count);
  for (unsigned i = 0; i < count; ++i) {
    WRITE_ONCE(r->leaves[i].start, READ_ONCE(old->leaves[i].start));
    WRITE_ONCE(r->leaves[i].child, READ_ONCE(old->leaves[i].child));
  }
  WRITE_ONCE(r->count, count);
  r->outgrown = old;
  smp_store_release(root_, r); // pairs with the dependencies on root_ in lookup() and current_root()
  return true;
}

/// Makes room at index `i` of `n` entries by shifting the tail up.
template <class Entry, class Field>
static void shift_up(Entry* entries, unsigned n, unsigned i, Field Entry::*field) {
  for (unsigned j = n; j > i; --j) {
    WRITE_ONCE(entries[j].start, READ_ONCE(entries[j - 1].start));
    smp_store_release(entries[j].*field, READ_ONCE(entries[j - 1].*field));
  }
}

/// Closes the gap at index `i` of `n` entries.
template <class Entry, class Field>
static void shift_down(Entry* entries, unsigned n, unsigned i, Field Entry::*field) {
  for (unsigned j = i; j + 1 < n; ++j) {
    WRITE_ONCE(entries[j].start, READ_ONCE(entries[j + 1].start));
    smp_store_release(entries[j].*field, READ_ONCE(entries[j + 1].*field));
  }
}

vma_tree::leaf& vma_tree::take_spare() {
  leaf& l = *spare_.get();
  spare_.set(l.next_spare.get());
  return l;
}

void vma_tree::split_leaf(unsigned i) {
  root& r = current_root();
  leaf& full = leaf_at(i);
  leaf& upper = take_spare();
  constexpr unsigned half = LEAF_AREAS / 2;
  for (unsigned j = 0; j < half; ++j) {
    WRITE_ONCE(upper.areas[j].start, READ_ONCE(full.areas[half + j].start));
    smp_store_release(upper.areas[j].vma, READ_ONCE(full.areas[half + j].vma));
  }
  WRITE_ONCE(upper.count, half);
  const unsigned count = READ_ONCE(r.count);
  shift_up(r.leaves, count, i + 1, &branch::child);
  WRITE_ONCE(r.leaves[i + 1].start, READ_ONCE(upper.areas[0].start));
  smp_store_release(r.leaves[i + 1].child, &upper); // pairs with the dependency on child in lookup()
  WRITE_ONCE(r.count, count + 1);
  WRITE_ONCE(full.count, half);
}

void vma_tree::insert(vm_area_struct& vma) {
  root& r = current_root();
  if (READ_ONCE(r.count) == 0) {
    leaf& first = take_spare();
    WRITE_ONCE(first.count, 0);
    WRITE_ONCE(r.leaves[0].start, 0);
    smp_store_release(r.leaves[0].child, &first); // pairs with the dependency on child in lookup()
    WRITE_ONCE(r.count, 1);
  }
  const vaddr_t start = vma.vm_start.get();
  unsigned i = upper_bound(r.leaves, READ_ONCE(r.count), start) - 1;
  if (READ_ONCE(leaf_at(i).count) == LEAF_AREAS) {
    split_leaf(i);
    i = upper_bound(r.leaves, READ_ONCE(r.count), start) - 1;
  }
  leaf& l = leaf_at(i);
  const unsigned count = READ_ONCE(l.count);
  const unsigned at = upper_bound(l.areas, count, start);
  shift_up(l.areas, count, at, &entry::vma);
  WRITE_ONCE(l.areas[at].start, start);
  smp_store_release(l.areas[at].vma, &vma); // pairs with the dependency on vma of who locks it (lock_vma())
  WRITE_ONCE(l.count, count + 1);
  size_.set(size_.get() + 1);
}

void vma_tree::drop_leaf(unsigned i) {
  root& r = current_root();
  leaf* empty = &leaf_at(i);
  const unsigned count = READ_ONCE(r.count);
  shift_down(r.leaves, count, i, &branch::child);
  if (i == 0) WRITE_ONCE(r.leaves[0].start, 0); // the first leaf takes every address below the second
  WRITE_ONCE(r.count, count - 1);
  empty->next_spare.set(spare_.get());
  spare_.set(empty);
}

void vma_tree::erase(vm_area_struct& vma) {
  position at{};
  find(vma.vm_start.get(), at);
  leaf& l = leaf_at(at.leaf);
  const unsigned count = READ_ONCE(l.count);
  shift_down(l.areas, count, at.area, &entry::vma);
  WRITE_ONCE(l.count, count - 1);
  size_.set(size_.get() - 1);
  if (count > 1 && at.area == 0) set_boundary(at.leaf, READ_ONCE(l.areas[0].start));
  if (count == 1 && READ_ONCE(current_root().count) > 1) drop_leaf(at.leaf);
}

void vma_tree::set_boundary(unsigned i, vaddr_t start) {
  if (i > 0) WRITE_ONCE(current_root().leaves[i].start, start);
}

} // namespace racewalk::inline RACEWALK_BACKEND
