#include "mm/interval_tree.h"

#include <algorithm>
#include <utility>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

bool before(const interval_node& a, const interval_node& b) {
  const u64 first_a = a.first.get();
  const u64 first_b = b.first.get();
  return first_a != first_b ? first_a < first_b : a.inserted.get() < b.inserted.get();
}

interval_node* updated(interval_node* node) {
  u64 last = node->last.get();
  for (const interval_node* child : {node->left.get(), node->right.get()})
    if (child != nullptr) last = std::max(last, child->subtree_last.get());
  node->subtree_last.set(last);
  return node;
}

/// What is before `at`, and the rest.
std::pair<interval_node*, interval_node*> split(interval_node* node, const interval_node& at) {
  if (node == nullptr) return {nullptr, nullptr};
  if (before(*node, at)) {
    const auto [low, high] = split(node->right.get(), at);
    node->right.set(low);
    return {updated(node), high};
  }
  const auto [low, high] = split(node->left.get(), at);
  node->left.set(high);
  return {low, updated(node)};
}

/// One tree of two, of which the first is before the second.
interval_node* merge(interval_node* low, interval_node* high) {
  if (low == nullptr) return high;
  if (high == nullptr) return low;
  if (low->priority.get() > high->priority.get()) {
    low->right.set(merge(low->right.get(), high));
    return updated(low);
  }
  high->left.set(merge(low, high->left.get()));
  return updated(high);
}

interval_node* insert_below(interval_node* node, interval_node& added) {
  if (node == nullptr) return updated(&added);
  if (node->priority.get() < added.priority.get()) {
    const auto [low, high] = split(node, added);
    added.left.set(low);
    added.right.set(high);
    return updated(&added);
  }
  plain<interval_node*>& child = before(added, *node) ? node->left : node->right;
  child.set(insert_below(child.get(), added));
  return updated(node);
}

interval_node* remove_below(interval_node* node, interval_node& gone) {
  VM_BUG_ON(node == nullptr, "INV-REF", "an area is taken out of a tree that is not in it");
  if (node == &gone) return merge(node->left.get(), node->right.get());
  plain<interval_node*>& child = before(gone, *node) ? node->left : node->right;
  child.set(remove_below(child.get(), gone));
  return updated(node);
}

} // namespace

void interval_tree::insert(interval_node& node, vm_area_struct& vma) {
  const u64 inserted = inserted_.get() + 1;
  inserted_.set(inserted);
  node.vma.set(&vma);
  node.left.set(nullptr);
  node.right.set(nullptr);
  node.first.set(vma.vm_pgoff.get());
  node.last.set(vma.last_pgoff());
  node.inserted.set(inserted);
  node.priority.set(static_cast<u32>(inserted) * 2654435769U); // Knuth's multiplicative hash
  root_.set(insert_below(root_.get(), node));
}

void interval_tree::remove(interval_node& node) { root_.set(remove_below(root_.get(), node)); }

} // namespace racewalk::inline RACEWALK_BACKEND
