// The areas of a region in order of address: a two-level B+tree whose look-ups take no lock.
//
// A look-up is two binary searches, one in the root's array of leaf boundaries and one in a leaf. Changes
// shift entries within one leaf, under the region's mmap_lock for writing.
//
// Invariant: whatever a look-up that races with a change reads, it stays inside memory that lives as long as
// the tree and returns some area that was in the tree, or none. Which one is for the caller to check
// (vma_start_read()), so that no sequence count is needed. Leaves and outgrown roots go back when the tree
// does.
#pragma once

#include <atomic>
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
  /// mmap_lock.
  vm_area_struct* find_vma(vaddr_t addr) const;
  /// The last area that begins at or before `addr`. Null if there is none. May race with changes: see above.
  vm_area_struct* lookup(vaddr_t addr) const;
  /// The last area that ends at or before `addr`. Null if there is none. Caller holds mmap_lock.
  vm_area_struct* find_vma_prev(vaddr_t addr) const;

  /// Memory for one more insert; false if there is none. Caller holds mmap_lock for writing.
  [[nodiscard]] bool preallocate();
  /// Adds an area that overlaps no other; preallocate() succeeded. Caller holds mmap_lock for writing.
  void insert(vm_area_struct& vma);
  /// Removes the area. Caller holds mmap_lock for writing.
  void erase(vm_area_struct& vma);
  /// The area, which is in the tree, now begins at `start`, with its order unchanged. Caller holds mmap_lock
  /// for writing and updates vm_start itself.
  void move_start(vm_area_struct& vma, vaddr_t start);

  std::size_t size() const { return size_; }

 private:
  static constexpr unsigned LEAF_AREAS = 32;

  struct entry {
    std::atomic<vaddr_t> start{0};
    std::atomic<vm_area_struct*> vma{nullptr};
  };
  struct leaf {
    std::atomic<unsigned> count{0};
    entry areas[LEAF_AREAS];
    leaf* next_spare = nullptr;
  };
  struct branch {
    std::atomic<vaddr_t> start{0}; ///< where the leaf's first area begins; 0 for the first leaf
    std::atomic<leaf*> child{nullptr};
  };
  struct root {
    explicit root(unsigned capacity);
    ~root();
    const unsigned capacity;
    std::atomic<unsigned> count{0};
    branch* leaves;
    root* outgrown = nullptr; ///< the root before this one: a look-up may still be in it
  };
  struct position {
    unsigned leaf;
    unsigned area;
  };

  /// Where the last area that begins at or before `addr` is; false if there is none. Caller holds mmap_lock.
  bool find(vaddr_t addr, position& at) const;
  leaf& leaf_at(unsigned i) const {
    return *root_.load(std::memory_order_relaxed)->leaves[i].child.load(std::memory_order_relaxed);
  }
  bool grow_root();
  void split_leaf(unsigned i);
  void drop_leaf(unsigned i);
  void set_boundary(unsigned i, vaddr_t start);

  std::atomic<root*> root_{nullptr};
  leaf* spare_ = nullptr; ///< emptied leaves: look-ups may still be in them, reuse is harmless
  std::size_t size_ = 0;
};

} // namespace racewalk::inline RACEWALK_BACKEND
