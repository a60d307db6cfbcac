// The address space and its areas.
//
// Locks, outermost first (M42): mmap_lock of a region > vm_lock of an area > folio lock > anon_vma_lock of a
// region > i_mmap_rwsem of a file > pmd lock > pte lock > xa_lock of a file's page cache. Who holds an
// anon_vma_lock for writing only tries folio locks.
//
// An address space is cut into regions, one for each entry of the root table. Areas never cross a region, and
// neither does a page table below the root; so a region's mmap_lock guards everything that Linux's mmap_lock
// guards for those addresses, and mappings in different regions do not meet at all.
//
// Areas are type-stable: their memory is reused for other areas of the same region, never returned while the
// mm_struct lives. So a lockless look-up may hold a stale pointer; vma_start_read() decides whether it is
// still the area that was looked for.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "arch/pgtable.h"
#include "machine/mm_context.h"
#include "mm/fs.h"
#include "mm/mmu_notifier.h"
#include "mm/policy.h"
#include "mm/vma_tree.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct mm_struct;
struct userfaultfd_ctx;
struct anon_vma;
struct anon_vma_chain;

/// Linux's vm_flags.
enum vm_flags_t : u32 {
  VM_NONE = 0,
  VM_READ = 1u << 0,
  VM_WRITE = 1u << 1,
  VM_EXEC = 1u << 2,
  VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC,
  VM_SHARED = 1u << 3,       ///< stores go to the file, and to all who map it shared
  VM_UFFD_MISSING = 1u << 9, ///< a userfaultfd hears of faults where nothing is mapped
  VM_UFFD_WP = 1u << 12,     ///< it can write-protect pages, and hears of stores to them
  VM_UFFD_MINOR = 1u << 13,  ///< it hears of faults where the file has a page that is not mapped
  VM_UFFD_FLAGS = VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR,
  VM_SEQ_READ = 1u << 15,   ///< gone through in order (MADV_SEQUENTIAL)
  VM_RAND_READ = 1u << 16,  ///< or in none: nothing is read ahead (MADV_RANDOM)
  VM_SOFTDIRTY = 1u << 27,  ///< mapped or grown since clear_refs()
  VM_HUGEPAGE = 1u << 29,   ///< huge pages wherever they fit (MADV_HUGEPAGE)
  VM_NOHUGEPAGE = 1u << 30, ///< none at all (MADV_NOHUGEPAGE)
  VM_MERGEABLE = 1u << 31,  ///< equal pages may become one (ksm.h)
};
constexpr vm_flags_t operator|(vm_flags_t a, vm_flags_t b) { return vm_flags_t(u32(a) | u32(b)); }
constexpr vm_flags_t operator&(vm_flags_t a, vm_flags_t b) { return vm_flags_t(u32(a) & u32(b)); }
constexpr vm_flags_t operator~(vm_flags_t a) { return vm_flags_t(~u32(a)); }

/// What an area's page tables may hold besides pages of its file: bits of vm_area_struct::bars.
enum vma_bar : unsigned {
  VMA_HAS_ANON,     ///< pages of its own: copies of the file's (Linux: anon_vma is set)
  VMA_UFFD_WP,      ///< marks of a userfaultfd that write-protects what is not there
  VMA_UFFD_MISSING, ///< and pages that a userfaultfd puts in where it heard of a fault
};

/// A range of addresses with one set of rights.
///
/// vm_start, vm_end, vm_flags, vm_userfaultfd_ctx and what it maps change under the region's mmap_lock,
/// vm_lock and the region's anon_vma_lock, all for writing; holding any of them for reading keeps them still.
/// Which part of a file it maps, and where, changes under the file's i_mmap_rwsem for writing, too; attached
/// under the mmap_lock and vm_lock. Only vm_mm stays as it is: the area's memory is of one region for good.
struct vm_area_struct {
  mm_struct* vm_mm = nullptr;
  plain<vaddr_t> vm_start;
  plain<vaddr_t> vm_end; ///< exclusive
  plain<vm_flags_t> vm_flags;
  plain<bool> attached; ///< in the region's tree, for faults to use
  plain<file*> vm_file; ///< what it maps, with a reference; null: anonymous memory
  /// The page of the file that is at vm_start; of anonymous memory the page's place when it was mapped, which
  /// mremap does not change. A folio's index counts the same way (linear_page_index()).
  plain<u64> vm_pgoff;
  plain<userfaultfd_ctx*> vm_userfaultfd_ctx; ///< not null if flags are of VM_UFFD_FLAGS
  rwsem_t vm_lock;
  /// What keeps a collapse of the file from changing the area's tables (collapse_file.h); read without any
  /// lock of the mm, and so not to be derived from the flags.
  word_t bars;
  shared<u64> swap_readahead_info;  ///< what was read ahead of the swap file, and of use (swap_state.cc)
  interval_node i_mmap_node;        ///< its place in the file's i_mmap
  interval_node displaced_node;     ///< and in the region's displaced areas
  plain<vm_area_struct*> next_free; ///< while in the region's free list, or on the way there

  bool contains(vaddr_t addr, site s = RW_HERE) const {
    return addr >= vm_start.get(s) && addr < vm_end.get(s);
  }
  u64 size(site s = RW_HERE) const { return vm_end.get(s) - vm_start.get(s); }
  /// The last page that it maps.
  u64 last_pgoff(site s = RW_HERE) const { return vm_pgoff.get(s) + (size(s) >> PAGE_SHIFT) - 1; }
};

/// Before a table of the area gets the first entry of the kind: before its ptl is taken. Pairs with the test
/// under the ptl in retract_page_tables().
inline void vma_set_bar(vm_area_struct& vma, vma_bar bar, site s = RW_HERE) {
  if (!test_bit(bar, vma.bars, s)) set_bit(bar, vma.bars, s);
}

/// The bars that come with a registration.
constexpr u64 uffd_bars(vm_flags_t flags) {
  return ((flags & VM_UFFD_WP) != 0 ? BIT(VMA_UFFD_WP) : 0) |
         ((flags & VM_UFFD_MISSING) != 0 ? BIT(VMA_UFFD_MISSING) : 0);
}

/// The page that the area has at `addr`, as vm_pgoff counts.
inline u64 linear_page_index(const vm_area_struct& vma, vaddr_t addr, site s = RW_HERE) {
  return vma.vm_pgoff.get(s) + ((addr - vma.vm_start.get(s)) >> PAGE_SHIFT);
}
inline bool vma_is_anonymous(const vm_area_struct& vma, site s = RW_HERE) {
  return vma.vm_file.get(s) == nullptr;
}
/// Private memory whose pages are not at the addresses that their index says: mremap has moved it, or it
/// counts as a file does. Who comes from a folio finds it in mmap_region::displaced; all other by the
/// address.
inline bool vma_is_displaced(const vm_area_struct& vma, site s = RW_HERE) {
  return (vma.vm_flags.get(s) & VM_SHARED) == 0 && vma.vm_pgoff.get(s) != vma.vm_start.get(s) >> PAGE_SHIFT;
}

/// What one entry of the root table maps.
class mmap_region {
 public:
  mmap_region(vaddr_t from, vaddr_t to) : start(from), end(to), free_area_cache(from) {}
  ~mmap_region();
  mmap_region(const mmap_region&) = delete;
  mmap_region& operator=(const mmap_region&) = delete;

  // Detached areas; caller holds mmap_lock for writing.

  /// Null when memory is short.
  vm_area_struct* vm_area_alloc(mm_struct& mm) { return vm_area_reserve(mm) ? &vm_area_take() : nullptr; }
  /// Makes sure that vm_area_take() has one. False when memory is short; on an explored path there is what
  /// was reserved before.
  [[nodiscard]] bool vm_area_reserve(mm_struct& mm);
  vm_area_struct& vm_area_take();
  /// Gives one back for reuse.
  void vm_area_free(vm_area_struct& vma);
  /// The area whose memory the address is in, attached or not; null: there is none. Nobody adds any.
  const vm_area_struct* vm_area_at(const void* addr) const;

  rwsem_t mmap_lock;
  /// Keeps the region's areas and page tables where they are for who comes from a folio (rmap.h) and holds no
  /// other lock of the mm: held for reading by those, for writing by who changes areas or takes tables away.
  rwsem_t anon_vma_lock;
  anon_vma* anon = nullptr;         ///< of the folios that are first mapped here (anon_vma.h)
  anon_vma_chain* chains = nullptr; ///< to each anon_vma whose folios may be mapped here
  const vaddr_t start;
  const vaddr_t end;       ///< exclusive
  vma_tree areas;          ///< changes under mmap_lock and anon_vma_lock for writing; look-ups need no lock
  interval_tree displaced; ///< of these, what vma_is_displaced(); changes with them
  plain<vaddr_t> free_area_cache; ///< no hole below it is larger than cached_hole_size
  plain<u64> cached_hole_size;

 private:
  struct slab;
  plain<vm_area_struct*> free_;
  slab* slabs_ = nullptr;
};

/// A machine's view of an address space that knows which mm it belongs to.
struct mm_owned_context : mm_context {
  explicit mm_owned_context(mm_struct& mm) : owner(mm) {}
  mm_struct& owner;
};

/// Bits of mm_struct::flags.
enum mm_flags : unsigned {
  MMF_HAS_PINNED,      ///< a page of it has been pinned; never cleared
  MMF_HUGE_ZERO_FOLIO, ///< it has a reference to the huge page of zeros; never cleared
};

enum mm_counter : unsigned {
  MM_ANONPAGES,
  MM_FILEPAGES,  ///< of files that have a disk
  MM_SHMEMPAGES, ///< of files that are made of memory
  MM_SWAPENTS,   ///< pages of anonymous memory that are in the swap file
  MM_PGTABLES,
  MM_NUMA_HINT_FAULTS, ///< accesses that change_prot_numa() has made fault
  NR_MM_COUNTERS
};

/// One CPU's share of the counters, on its own line.
struct alignas(64) mm_rss_stat {
  atomic64_t count[NR_MM_COUNTERS];
};

struct mm_struct {
  mm_struct();
  ~mm_struct();
  mm_struct(const mm_struct&) = delete;
  mm_struct& operator=(const mm_struct&) = delete;

  mm_owned_context context;      ///< what the machine knows of it: root, CPUs, generation
  spinlock_t page_table_lock;    ///< guards entries above the PMD level
  atomic_t lockless_walkers{0};  ///< walks in flight, under walk_tracking_t::count (mail 1)
  atomic_t tlb_flush_pending{0}; ///< gathers that have changed entries and not flushed yet (M10)
  atomic_t tlb_flush_batched{0}; ///< unmaps whose flush is somebody else's (tlbbatch.h)
  mmu_notifier_subscriptions notifier_subscriptions;
  word_t flags; ///< mm_flags
  /// Odd while a fork ends the exclusive use of pages (M35). Changes under the mmap_lock of all regions.
  shared<u32> write_protect_seq;
  std::array<mm_rss_stat, MAX_CPUS> rss_stat;

  /// The region that holds `addr`; created on first use. Null when memory is short.
  mmap_region* region(vaddr_t addr);
  /// The region that holds `addr`, if anything was ever mapped there.
  mmap_region* existing_region(vaddr_t addr) const;
  /// Calls visit(region) for each region, lowest first. New ones may come meanwhile, unless locks keep them
  /// out.
  template <class F> void for_each_region(F&& visit) const {
    for (unsigned i = 0; i < geometry().entries(); ++i)
      if (mmap_region* r = regions_[i].load(std::memory_order_acquire)) visit(*r); // pairs with region()
  }
  /// Holds every region's mmap_lock for writing, and keeps new regions out. Caller holds none of them.
  void mmap_write_lock_all() NO_THREAD_SAFETY_ANALYSIS;
  void mmap_write_unlock_all() NO_THREAD_SAFETY_ANALYSIS;
  /// The same with every region's anon_vma_lock: nobody changes mappings.
  void take_all_locks() NO_THREAD_SAFETY_ANALYSIS;
  void drop_all_locks() NO_THREAD_SAFETY_ANALYSIS;

 private:
  mmap_region* create_region(vaddr_t addr);

  std::unique_ptr<std::atomic<mmap_region*>[]> regions_; ///< none is made on an explored path
  mutex_t creation_lock_;
};

/// The mm that a machine context belongs to.
inline mm_struct& mm_of(mm_context& context) { return static_cast<mm_owned_context&>(context).owner; }

/// Adds to one of the mm's counters.
void add_mm_counter(mm_struct& mm, mm_counter which, s64 n, site s = RW_HERE);
/// The sum over all CPUs: exact while nothing changes it.
s64 get_mm_counter(const mm_struct& mm, mm_counter which);

} // namespace racewalk::inline RACEWALK_BACKEND
