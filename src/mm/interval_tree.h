// i_mmap: the areas that map a file, by which pages of it they map.
//
// A treap whose nodes are the areas themselves, ordered by their first page and then by when they came, each
// knowing the last page of all that are below it: whoever looks for the areas that map a page visits no
// subtree that ends before it. Priorities are a hash of a running number, so the tree is balanced whatever
// the order of insertions.
//
// Changes need i_mmap_rwsem for writing, look-ups for reading. In explored code it is only read, or
// loses the only area that it has.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct vm_area_struct;

/// An area's place in the tree.
struct interval_node {
  vm_area_struct* left = nullptr;
  vm_area_struct* right = nullptr;
  u64 subtree_last = 0; ///< the last page that anything from here down maps
  u64 inserted = 0;     ///< a running number
  u32 priority = 0;
};

class interval_tree {
 public:
  void insert(vm_area_struct& vma);
  void remove(vm_area_struct& vma);
  [[nodiscard]] bool empty() const { return root_.get() == nullptr; }

  /// Calls visit(vma) for each area that maps a page of [first, last], in order of their first pages.
  template <class Visit> void for_each(u64 first, u64 last, Visit&& visit) const {
    walk(root_.get(), first, last, visit);
  }

 private:
  template <class Visit>
  static void walk(vm_area_struct* node, u64 first, u64 last, Visit& visit); // mm_types.h

  plain<vm_area_struct*> root_;
  u64 inserted_ = 0;
};

} // namespace racewalk::inline RACEWALK_BACKEND
