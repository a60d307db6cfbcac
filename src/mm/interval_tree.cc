#include "mm/interval_tree.h"

#include <algorithm>
#include <utility>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

bool before(const vm_area_struct& a, const vm_area_struct& b) {
  return a.vm_pgoff != b.vm_pgoff ? a.vm_pgoff < b.vm_pgoff : a.i_mmap_node.inserted < b.i_mmap_node.inserted;
}

vm_area_struct* updated(vm_area_struct* node) {
  u64 last = node->last_pgoff();
  for (const vm_area_struct* child : {node->i_mmap_node.left, node->i_mmap_node.right})
    if (child != nullptr) last = std::max(last, child->i_mmap_node.subtree_last);
  node->i_mmap_node.subtree_last = last;
  return node;
}

/// What is before `at`, and the rest.
std::pair<vm_area_struct*, vm_area_struct*> split(vm_area_struct* node, const vm_area_struct& at) {
  if (node == nullptr) return {nullptr, nullptr};
  if (before(*node, at)) {
    const auto [low, high] = split(node->i_mmap_node.right, at);
    node->i_mmap_node.right = low;
    return {updated(node), high};
  }
  const auto [low, high] = split(node->i_mmap_node.left, at);
  node->i_mmap_node.left = high;
  return {low, updated(node)};
}

/// One tree of two, of which the first is before the second.
vm_area_struct* merge(vm_area_struct* low, vm_area_struct* high) {
  if (low == nullptr) return high;
  if (high == nullptr) return low;
  if (low->i_mmap_node.priority > high->i_mmap_node.priority) {
    low->i_mmap_node.right = merge(low->i_mmap_node.right, high);
    return updated(low);
  }
  high->i_mmap_node.left = merge(low, high->i_mmap_node.left);
  return updated(high);
}

vm_area_struct* insert_below(vm_area_struct* node, vm_area_struct& vma) {
  if (node == nullptr) return updated(&vma);
  if (node->i_mmap_node.priority < vma.i_mmap_node.priority) {
    std::tie(vma.i_mmap_node.left, vma.i_mmap_node.right) = split(node, vma);
    return updated(&vma);
  }
  vm_area_struct*& child = before(vma, *node) ? node->i_mmap_node.left : node->i_mmap_node.right;
  child = insert_below(child, vma);
  return updated(node);
}

vm_area_struct* remove_below(vm_area_struct* node, vm_area_struct& vma) {
  VM_BUG_ON(node == nullptr, "INV-REF", "an area is taken out of a file's tree that is not in it");
  if (node == &vma) return merge(node->i_mmap_node.left, node->i_mmap_node.right);
  vm_area_struct*& child = before(vma, *node) ? node->i_mmap_node.left : node->i_mmap_node.right;
  child = remove_below(child, vma);
  return updated(node);
}

} // namespace

void interval_tree::insert(vm_area_struct& vma) {
  ++inserted_;
  // Knuth's multiplicative hash
  vma.i_mmap_node = {.inserted = inserted_, .priority = static_cast<u32>(inserted_) * 2654435769U};
  root_.set(insert_below(root_.get(), vma));
}

void interval_tree::remove(vm_area_struct& vma) { root_.set(remove_below(root_.get(), vma)); }

} // namespace racewalk::inline RACEWALK_BACKEND
