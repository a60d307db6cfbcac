#include "mm/interval_tree.h"

#include <algorithm>
#include <utility>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

bool before(const interval_node& a, const interval_node& b) {
  return a.first != b.first ? a.first < b.first : a.inserted < b.inserted;
}

interval_node* updated(interval_node* node) {
  u64 last = node->last;
  for (const interval_node* child : {node->left, node->right})
    if (child != nullptr) last = std::max(last, child->subtree_last);
  node->subtree_last = last;
  return node;
}

/// What is before `at`, and the rest.
std::pair<interval_node*, interval_node*> split(interval_node* node, const interval_node& at) {
  if (node == nullptr) return {nullptr, nullptr};
  if (before(*node, at)) {
    const auto [low, high] = split(node->right, at);
    node->right = low;
    return {updated(node), high};
  }
  const auto [low, high] = split(node->left, at);
  node->left = high;
  return {low, updated(node)};
}

/// One tree of two, of which the first is before the second.
interval_node* merge(interval_node* low, interval_node* high) {
  if (low == nullptr) return high;
  if (high == nullptr) return low;
  if (low->priority > high->priority) {
    low->right = merge(low->right, high);
    return updated(low);
  }
  high->left = merge(low, high->left);
  return updated(high);
}

interval_node* insert_below(interval_node* node, interval_node& added) {
  if (node == nullptr) return updated(&added);
  if (node->priority < added.priority) {
    std::tie(added.left, added.right) = split(node, added);
    return updated(&added);
  }
  interval_node*& child = before(added, *node) ? node->left : node->right;
  child = insert_below(child, added);
  return updated(node);
}

interval_node* remove_below(interval_node* node, interval_node& gone) {
  VM_BUG_ON(node == nullptr, "INV-REF", "an area is taken out of a tree that is not in it");
  if (node == &gone) return merge(node->left, node->right);
  interval_node*& child = before(gone, *node) ? node->left : node->right;
  child = remove_below(child, gone);
  return updated(node);
}

} // namespace

void interval_tree::insert(interval_node& node, vm_area_struct& vma) {
  ++inserted_;
  // Knuth's multiplicative hash
  node = {.vma = &vma,
          .first = vma.vm_pgoff,
          .last = vma.last_pgoff(),
          .inserted = inserted_,
          .priority = static_cast<u32>(inserted_) * 2654435769U};
  root_.set(insert_below(root_.get(), node));
}

void interval_tree::remove(interval_node& node) { root_.set(remove_below(root_.get(), node)); }

} // namespace racewalk::inline RACEWALK_BACKEND
