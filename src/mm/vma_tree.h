// The areas of a region in order of address: a two-level B+tree whose look-ups take no lock.
//
// A look-up is two binary searches, one in the root's array of leaf boundaries and one in a leaf. Changes
// shift entries within one leaf, under the region's mmap_lock and anon_vma_lock for writing; a larger root is
// put in place under its mmap_lock alone.
//
// Invariant: whatever a look-up that races with a change reads, it stays inside memory that lives as long as
// the tree and returns some area that was in the tree, or none. Which one is for the caller to check
// (vma_start_read()), so that no sequence count is needed. Leaves and outgrown roots go back when the tree
// does.
//
// Memory comes from preallocate() alone; on an explored path that is what has been reserved before, and a
// tree that would outgrow its root is full.
#pragma once

#include <cstddef>

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct vm_area_struct;

class vma_tree {
 public:
  vma_tree() = default;
  ~vma_tree();
  vma_tree(const vma_tree&) = delete;
  vma_tree& operator=(const vma_tree&) = delete;

  /// The first area that ends after `addr`; it may begin after it. Null if there is none. Caller holds
  /// mmap_lock or anon_vma_lock.
  vm_area_struct* find_vma(vaddr_t addr) const;
  /// The last area that begins at or before `addr`. Null if there is none. May race with changes: see above.
  vm_area_struct* lookup(vaddr_t addr) const;
  /// The last area that ends at or before `addr`. Null if there is none. Caller holds mmap_lock or
  /// anon_vma_lock.
  vm_area_struct* find_vma_prev(vaddr_t addr) const;

  /// Memory for one more insert; false if there is none. Caller holds mmap_lock for writing.
  [[nodiscard]] bool preallocate();
  /// Adds an area that overlaps no other; preallocate() succeeded. Caller holds both locks for writing.
  void insert(vm_area_struct& vma);
  /// Removes the area. Caller holds both locks for writing.
  void erase(vm_area_struct& vma);

  std::size_t size() const { return size_.get(); }

  /// Calls visit(variable, what, i) for each variable of the tree as it is, the ith of its kind: for who
  /// tells about accesses to them.
  template <class Visit> void for_each_variable(Visit&& visit) const {
    visit(&root_, "root", 0U);
    visit(&size_, "size", 0U);
    visit(&spare_, "spare", 0U);
    const root* r = READ_ONCE(root_);
    if (r == nullptr) return;
    visit(&r->count, "leaves", 0U);
    for (unsigned i = 0; i < READ_ONCE(r->count); ++i) {
      visit(&r->leaves[i].start, "leaf_start", i);
      visit(&r->leaves[i].child, "leaf", i);
      const leaf& l = *READ_ONCE(r->leaves[i].child);
      visit(&l.count, "count", i);
      for (unsigned j = 0; j < LEAF_AREAS; ++j) {
        visit(&l.areas[j].start, "start", i * LEAF_AREAS + j);
        visit(&l.areas[j].vma, "vma", i * LEAF_AREAS + j);
      }
    }
  }

 private:
  static constexpr unsigned LEAF_AREAS = 32;

  struct entry {
    shared<vaddr_t> start;
    shared<vm_area_struct*> vma;
  };
  struct leaf {
    shared<unsigned> count;
    entry areas[LEAF_AREAS];
    plain<leaf*> next_spare;
  };
  struct branch {
    shared<vaddr_t> start; ///< where the leaf's first area begins; 0 for the first leaf
    shared<leaf*> child;
  };
  struct root {
    explicit root(unsigned n);
    ~root();
    const unsigned capacity;
    shared<unsigned> count;
    branch* const leaves;
    root* outgrown = nullptr; ///< the root before this one: a look-up may still be in it
  };
  struct position {
    unsigned leaf;
    unsigned area;
  };

  /// The root, which there is. Pairs with the release store of root_ in grow_root(): to who holds the
  /// anon_vma_lock only, no lock orders it.
  root& current_root(site s = RW_HERE) const { return *read_dep(root_, s).value; }
  /// Where the last area that begins at or before `addr` is; false if there is none. Caller holds mmap_lock
  /// or anon_vma_lock.
  bool find(vaddr_t addr, position& at) const;
  leaf& leaf_at(unsigned i, site s = RW_HERE) const { return *READ_ONCE(current_root(s).leaves[i].child, s); }
  vm_area_struct* vma_at(position at, site s = RW_HERE) const {
    return READ_ONCE(leaf_at(at.leaf, s).areas[at.area].vma, s);
  }
  bool grow_root();
  leaf& take_spare();
  void split_leaf(unsigned i);
  void drop_leaf(unsigned i);
  void set_boundary(unsigned i, vaddr_t start);

  shared<root*> root_;
  plain<leaf*> spare_; ///< emptied leaves: look-ups may still be in them, reuse is harmless
  plain<std::size_t> size_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
