// Areas, by which pages they map: of a file (its i_mmap), or of private memory that is not where it was first
// mapped (mmap_region::displaced).
//
// A treap whose nodes are in the areas, ordered by their first page and then by when they came, each knowing
// the last page of all that are below it: whoever looks for the areas that map a page visits no subtree that
// ends before it. Priorities are a hash of a running number, so the tree is balanced whatever the order of
// insertions.
//
// Changes need the lock that the tree belongs to for writing, look-ups for reading. In explored code it is
// only read, or loses the only area that it has.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct vm_area_struct;

/// An area's place in a tree.
struct interval_node {
  vm_area_struct* vma = nullptr;
  interval_node* left = nullptr;
  interval_node* right = nullptr;
  u64 first = 0; ///< the pages that the area maps
  u64 last = 0;
  u64 subtree_last = 0; ///< the last page that anything from here down maps
  u64 inserted = 0;     ///< a running number
  u32 priority = 0;
};

class interval_tree {
 public:
  /// `node`: the area's for this tree. What the area maps does not change while it is in it.
  void insert(interval_node& node, vm_area_struct& vma);
  void remove(interval_node& node);
  [[nodiscard]] bool empty() const { return root_.get() == nullptr; }

  /// Calls visit(vma) for each area that maps a page of [first, last], in order of their first pages.
  template <class Visit> void for_each(u64 first, u64 last, Visit&& visit) const {
    walk(root_.get(), first, last, visit);
  }

 private:
  template <class Visit> static void walk(interval_node* node, u64 first, u64 last, Visit& visit) {
    if (node == nullptr || node->subtree_last < first) return;
    walk(node->left, first, last, visit);
    if (node->first > last) return;
    if (node->last >= first) visit(*node->vma);
    walk(node->right, first, last, visit);
  }

  plain<interval_node*> root_;
  u64 inserted_ = 0;
};

} // namespace racewalk::inline RACEWALK_BACKEND
