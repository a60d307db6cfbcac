// The scanner of equal pages (racewalk/page_merger.h; Linux's ksmd).
//
// Two sets of pages, by a checksum of their content. Stable: those that stand for others, known by their
// nodes; they never change. Unstable: those that were seen in this pass and had not changed since the pass
// before; they are known by address only, and looked at again before anything is done to them. A page that is
// in neither, and has changed, is only noted.
#include "racewalk/page_merger.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mm/house_cpu.h"
#include "mm/ksm.h"
#include "mm/rmap.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct PageMerger::Scanner {
  explicit Scanner(System& s) : system(s) {}

  /// A page of a space.
  struct place {
    mm_struct* mm;
    vaddr_t addr;
    auto operator<=>(const place&) const = default;
  };

  void scan(u64 pages);
  bool scan_next();
  void look_at(vm_area_struct& vma, vaddr_t addr);
  void merge(vm_area_struct& vma, vaddr_t addr, page* page);
  bool merge_with_stable(vm_area_struct& vma, vaddr_t addr, page* page, u64 sum);
  void merge_twins(vm_area_struct& vma, vaddr_t addr, page* page, u64 sum, place twin);
  void end_pass();
  void prune(bool all);
  void run();

  System& system;

  mutable std::mutex lock; ///< guards what follows
  std::vector<mm_struct*> spaces;
  std::size_t space = 0; ///< where the next look is: an index into spaces, and the address
  vaddr_t address = 0;
  std::unordered_multimap<u64, ksm_stable_node*> stable; ///< with a reference to each
  std::unordered_map<u64, place> unstable;
  std::map<place, u64> checksums; ///< as of the last look
  Statistics counts;

  // the thread
  std::condition_variable wake;
  u64 pages_per_wake = 0;
  std::chrono::milliseconds pause{};
  bool stopping = false;
  std::thread thread;
};

// ---- one page --------------------------------------------------------------------------------------------

/// Whether it is merged with one that stands for others.
bool PageMerger::Scanner::merge_with_stable(vm_area_struct& vma, vaddr_t addr, page* page, u64 sum) {
  const auto [first, last] = stable.equal_range(sum);
  return std::any_of(first, last, [&](const auto& entry) {
    return merge_with_stable_node(*entry.second, vma, addr, page, alloc_rmap_item()) == 0;
  });
}

/// The page gets to stand for others, and the one at `twin` is the first of them if it is still the same.
void PageMerger::Scanner::merge_twins(vm_area_struct& vma, vaddr_t addr, page* page, u64 sum,
                                      place twin) NO_THREAD_SAFETY_ANALYSIS {
  ksm_stable_node* node = ksm_alloc_node();
  if (node == nullptr) return;
  if (try_to_make_ksm_page(vma, addr, page, *node, alloc_rmap_item()) != 0) return ksm_put_node(*node);
  stable.emplace(sum, node);
  mmap_region& region = *twin.mm->existing_region(twin.addr);
  const bool same_region = &region == vma.vm_mm->existing_region(addr); // whose lock is held
  if (!same_region && !down_read_trylock(region.mmap_lock)) return;     // the next pass finds it
  vm_area_struct* other = region.areas.find_vma(twin.addr);
  if (other != nullptr && other->contains(twin.addr) && (other->vm_flags.get() & VM_MERGEABLE) != 0)
    if (struct page* same = get_mergeable_page(*other, twin.addr)) {
      (void)merge_with_stable_node(*node, *other, twin.addr, same, alloc_rmap_item());
      folio_put(page_folio(same));
    }
  if (!same_region) up_read(region.mmap_lock);
}

void PageMerger::Scanner::merge(vm_area_struct& vma, vaddr_t addr, page* page) {
  const place here{vma.vm_mm, addr};
  const u64 sum = calc_checksum(page);
  if (merge_with_stable(vma, addr, page, sum)) {
    checksums.erase(here);
    return;
  }
  const auto [last, is_new] = checksums.try_emplace(here, sum);
  if (is_new || last->second != sum) { // it may be changing all the time
    last->second = sum;
    return;
  }
  const auto [twin, is_first] = unstable.try_emplace(sum, here);
  if (!is_first && twin->second != here) merge_twins(vma, addr, page, sum, twin->second);
}

void PageMerger::Scanner::look_at(vm_area_struct& vma, vaddr_t addr) {
  ++counts.pages_scanned;
  page* page = get_mergeable_page(vma, addr);
  if (page == nullptr) return;
  merge(vma, addr, page);
  folio_put(page_folio(page));
}

// ---- one after the other ---------------------------------------------------------------------------------

/// Looks at the next page. False at the end of a pass.
bool PageMerger::Scanner::scan_next() {
  const u64 size = geometry().size(geometry().root_level());
  for (; space < spaces.size(); ++space, address = 0) {
    while (address < geometry().address_limit()) {
      mmap_region* region = spaces[space]->existing_region(address);
      if (region == nullptr) {
        address = (address & ~(size - 1)) + size;
        continue;
      }
      read_guard mmap_lock(region->mmap_lock);
      vm_area_struct* vma = region->areas.find_vma(address);
      if (vma == nullptr) {
        address = region->end;
      } else if ((vma->vm_flags.get() & VM_MERGEABLE) == 0 || !vma_is_anonymous(*vma)) {
        address = vma->vm_end.get();
      } else {
        const vaddr_t here = std::max(address, vma->vm_start.get());
        address = here + PAGE_SIZE;
        look_at(*vma, here);
        return true;
      }
    }
  }
  end_pass();
  return false;
}

void PageMerger::Scanner::end_pass() {
  space = 0;
  address = 0;
  unstable.clear();
  std::erase_if(checksums, [&](const auto& known) {
    return std::find(spaces.begin(), spaces.end(), known.first.mm) == spaces.end();
  });
  prune(false);
  ++counts.full_scans;
}

/// Forgets the nodes of pages that are gone; or all of them, which those who map the pages keep.
void PageMerger::Scanner::prune(bool all) {
  std::erase_if(stable, [all](const auto& entry) {
    ksm_stable_node& node = *entry.second;
    if (!all && !ksm_node_is_stale(node)) return false;
    ksm_put_node(node);
    return true;
  });
  for (const auto& [sum, node] : stable)
    if (folio* kpage = ksm_get_folio(*node)) {
      ksm_prune_items(*node, kpage);
      folio_put(kpage);
    }
}

void PageMerger::Scanner::scan(u64 pages) {
  HouseCpu cpu(system);
  while (pages > 0 && scan_next())
    --pages;
}

// ---- the thread ------------------------------------------------------------------------------------------

void PageMerger::Scanner::run() {
  std::unique_lock guard(lock);
  while (!stopping) {
    scan(pages_per_wake);
    wake.wait_for(guard, pause, [this] { return stopping; });
  }
}

PageMerger::PageMerger(System& system) : scanner_(std::make_unique<Scanner>(system)) {}

PageMerger::~PageMerger() {
  stop();
  HouseCpu cpu(scanner_->system);
  scanner_->prune(true);
}

void PageMerger::watch(AddressSpace& space) {
  const std::lock_guard guard(scanner_->lock);
  scanner_->spaces.push_back(&space.mm());
}

void PageMerger::forget(AddressSpace& space) {
  const std::lock_guard guard(scanner_->lock);
  std::erase(scanner_->spaces, &space.mm());
  std::erase_if(scanner_->unstable, [&](const auto& entry) { return entry.second.mm == &space.mm(); });
  std::erase_if(scanner_->checksums, [&](const auto& known) { return known.first.mm == &space.mm(); });
  scanner_->space = 0; // the pass begins anew
  scanner_->address = 0;
}

void PageMerger::scan(std::uint64_t pages) {
  const std::lock_guard guard(scanner_->lock);
  scanner_->scan(pages);
}

void PageMerger::start(std::uint64_t pages, std::chrono::milliseconds pause) {
  const std::lock_guard guard(scanner_->lock);
  scanner_->pages_per_wake = pages;
  scanner_->pause = pause;
  scanner_->stopping = false;
  if (!scanner_->thread.joinable()) scanner_->thread = std::thread([this] { scanner_->run(); });
}

void PageMerger::stop() {
  {
    const std::lock_guard guard(scanner_->lock);
    scanner_->stopping = true;
  }
  scanner_->wake.notify_all();
  if (scanner_->thread.joinable()) scanner_->thread.join();
}

PageMerger::Statistics PageMerger::statistics() const {
  const std::lock_guard guard(scanner_->lock);
  Statistics counts = scanner_->counts;
  HouseCpu cpu(scanner_->system);
  for (const auto& [sum, node] : scanner_->stable) {
    folio* kpage = ksm_get_folio(*node);
    if (kpage == nullptr) continue; // in the swap file
    const s32 maps = folio_mapcount(kpage);
    folio_put(kpage);
    if (maps > 0) ++counts.pages_shared;
    if (maps > 1) counts.pages_sharing += static_cast<u64>(maps - 1);
  }
  return counts;
}

} // namespace racewalk::inline RACEWALK_BACKEND
