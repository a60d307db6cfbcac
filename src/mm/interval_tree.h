// Areas, by which pages they map: of a file (its i_mmap), or of private memory that is not where it was first
// mapped (mmap_region::displaced).
//
// A treap whose nodes are in the areas, ordered by their first page and then by when they came, each knowing
// the last page of all that are below it: whoever looks for the areas that map a page visits no subtree that
// ends before it. Priorities are a hash of a running number, so the tree is balanced whatever the order of
// insertions.
//
// Changes need the lock that the tree belongs to for writing, look-ups for reading.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct vm_area_struct;

/// An area's place in a tree.
struct interval_node {
  plain<vm_area_struct*> vma;
  plain<interval_node*> left;
  plain<interval_node*> right;
  plain<u64> first; ///< the pages that the area maps
  plain<u64> last;
  plain<u64> subtree_last; ///< the last page that anything from here down maps
  plain<u64> inserted;     ///< a running number
  plain<u32> priority;
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
    if (node == nullptr || node->subtree_last.get() < first) return;
    walk(node->left.get(), first, last, visit);
    if (node->first.get() > last) return;
    if (node->last.get() >= first) visit(*node->vma.get());
    walk(node->right.get(), first, last, visit);
  }

  plain<interval_node*> root_;
  plain<u64> inserted_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
