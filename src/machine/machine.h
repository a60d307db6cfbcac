// The machine: memory as frames, a struct page for each, and CPUs.
//
// Natively the frames are one host mapping, aligned so that huge pages of the host can serve huge pages of
// ours, and backed by the host only where touched. machine() is the one that the calling thread works on.
#pragma once

#include <array>
#include <memory>

#include "arch/arch.h"
#include "machine/host_memory.h"
#include "machine/page.h"

namespace racewalk::inline RACEWALK_BACKEND {

class Cpu;
struct huge_zero_page;
struct gup_check;
struct page_ext;
struct pgmap_array;
struct pglist_data;
struct swap_info;
struct transparent_hugepage;
struct zone;

class Machine : public smp_domain {
 public:
  /// Memory is rounded up to a whole huge page, and so is the room for memory of devices, which has its place
  /// in the array behind it. Throws std::bad_alloc, or std::invalid_argument for a size or a number of CPUs
  /// that cannot be.
  Machine(u64 bytes, unsigned nr_cpus, u64 device_bytes = 0);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Those of memory: the allocator's, and from 0 on.
  [[nodiscard]] u64 nr_pages() const { return nr_pages_; }
  /// The frames from nr_pages() to this one (exclusive) are for memory of devices (mm/memremap.h).
  [[nodiscard]] pfn_t max_pfn() const { return max_pfn_; }
  [[nodiscard]] unsigned nr_cpus() const { return nr_cpus_; }
  /// The CPUs that there are.
  [[nodiscard]] cpumask_bits cpu_mask() const {
    return nr_cpus_ == MAX_CPUS ? ~cpumask_bits{0} : (cpumask_bits{1} << nr_cpus_) - 1;
  }
  [[nodiscard]] Cpu& cpu(unsigned id) const { return *cpus_[id]; }

  [[nodiscard]] struct page* pages() const { return pages_; }
  [[nodiscard]] std::byte* frames() const { return frame_memory_.data(); }
  /// Makes frames that nobody uses zeros, which take no memory of the host's.
  void discard_frames(pfn_t first, u64 nr) const {
    frame_memory_.discard(first << PAGE_SHIFT, nr << PAGE_SHIFT);
  }

  /// The page allocator's state (mm/page_alloc.h), which installs it and takes it away.
  struct zone* zone = nullptr;
  /// Its huge page of zeros (mm/huge_zero_page.h), which is there and goes with the allocator.
  struct huge_zero_page* huge_zero = nullptr;
  /// How it uses huge pages (mm/thp.h); null: by the defaults.
  transparent_hugepage* thp = nullptr;
  /// What is counted of each page while mm/page_table_check.h checks entries; null: nothing is.
  struct page_ext* page_ext = nullptr;
  /// Who holds pages, while mm/gup_check.h checks it; null: nobody is written down.
  struct gup_check* gup_check = nullptr;
  /// Which devices' memory is there (mm/memremap.h); null: none.
  struct pgmap_array* pgmaps = nullptr;
  /// How it takes memory back (mm/mmzone.h); null: it does not.
  pglist_data* pgdat = nullptr;
  /// Where memory goes that has no file (mm/swapfile.h); null: nowhere.
  swap_info* swap = nullptr;

 private:
  u64 nr_pages_;
  pfn_t max_pfn_;
  unsigned nr_cpus_;
  host_memory frame_memory_;
  host_memory page_memory_;
  struct page* pages_;
  std::array<std::unique_ptr<Cpu>, MAX_CPUS> cpus_;
};

/// The machine that this thread works on. RCU callbacks work on that of the thread that called call_rcu().
inline Machine& machine() { return *static_cast<Machine*>(run_context); }

/// Makes the calling thread work on a machine, without being one of its CPUs.
class machine_scope {
 public:
  explicit machine_scope(Machine& m) : previous_(run_context) { run_context = &m; }
  ~machine_scope() { run_context = previous_; }
  machine_scope(const machine_scope&) = delete;
  machine_scope& operator=(const machine_scope&) = delete;

 private:
  smp_domain* previous_;
};

inline bool pfn_valid(pfn_t pfn) { return pfn < machine().max_pfn(); }
/// Is the frame's memory a device's?
inline bool is_zone_device_pfn(pfn_t pfn) { return pfn >= machine().nr_pages(); }

// ---- page.h's conversions --------------------------------------------------------------------------------

static_assert(sizeof(word_t) * 512 == PAGE_SIZE, "a frame is an array of words");

inline struct page* pfn_to_page(pfn_t pfn) { return machine().pages() + pfn; }
inline pfn_t page_to_pfn(const struct page* page) { return static_cast<pfn_t>(page - machine().pages()); }
inline void* page_address(const struct page* page) {
  return machine().frames() + (page_to_pfn(page) << PAGE_SHIFT);
}
inline word_t* pfn_words(pfn_t pfn) {
  return reinterpret_cast<word_t*>(machine().frames() + (pfn << PAGE_SHIFT));
}
inline word_t* page_words(const struct page* page) { return pfn_words(page_to_pfn(page)); }

inline struct folio* page_folio(struct page* page, dep_t found, site s) {
  u64 head = READ_ONCE(ref<u64>(&page->compound_head, found), s);
  return reinterpret_cast<struct folio*>(head & 1 ? pfn_to_page(head >> 1) : page);
}

} // namespace racewalk::inline RACEWALK_BACKEND
