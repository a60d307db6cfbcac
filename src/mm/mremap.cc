#include "mm/mremap.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "machine/tlbflush.h"
#include "mm/anon_vma.h"
#include "mm/huge_memory.h"
#include "mm/mmap.h"
#include "mm/mmu_gather.h"
#include "mm/mprotect.h"
#include "mm/pgalloc.h"
#include "mm/pgtable_generic.h"
#include "mm/tlbbatch.h"
#include "mm/userfaultfd.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// The locks of the tables that an entry leaves and arrives in: one, if it is the same table. Two tables are
/// locked in the order of the move; nobody else locks two of them, as the mmap_locks of both regions are held
/// for writing.
class two_locks_guard {
 public:
  two_locks_guard(spinlock_t& from, spinlock_t& to, site s = RW_HERE) NO_THREAD_SAFETY_ANALYSIS : from_(from),
                                                                                                  to_(to),
                                                                                                  where_(s) {
    spin_lock(from_, s);
    if (&to_ != &from_) spin_lock(to_, s);
  }
  ~two_locks_guard() { unlock(); }
  two_locks_guard(const two_locks_guard&) = delete;
  two_locks_guard& operator=(const two_locks_guard&) = delete;

  void unlock() NO_THREAD_SAFETY_ANALYSIS {
    if (!std::exchange(held_, false)) return;
    if (&to_ != &from_) spin_unlock(to_, where_);
    spin_unlock(from_, where_);
  }

 private:
  spinlock_t& from_;
  spinlock_t& to_;
  site where_;
  bool held_ = true;
};

/// Keeps out who comes from a folio, under no lock of the mm but its own and those of the tables. It would
/// look at the new place before the move and at the old one afterwards; and of a table that moves as a whole
/// it would take pages at the new place, and flush only that, while the old one is not flushed yet
/// (97113eb39fa7).
class rmap_locks_guard {
 public:
  rmap_locks_guard(const vm_area_struct& a, const vm_area_struct& b)
      : lower_(*a.vm_mm->existing_region(std::min(a.vm_start.get(), b.vm_start.get()))),
        upper_(*a.vm_mm->existing_region(std::max(a.vm_start.get(), b.vm_start.get()))),
        mapping_(a.vm_file.get() == nullptr ? nullptr : &a.vm_file.get()->mapping()) {
    lock(lower_.anon_vma_lock);
    if (&upper_ != &lower_) lock(upper_.anon_vma_lock);
    if (mapping_ != nullptr) lock(mapping_->i_mmap_rwsem);
  }
  ~rmap_locks_guard() {
    if (mapping_ != nullptr) unlock(mapping_->i_mmap_rwsem);
    if (&upper_ != &lower_) unlock(upper_.anon_vma_lock);
    unlock(lower_.anon_vma_lock);
  }
  rmap_locks_guard(const rmap_locks_guard&) = delete;
  rmap_locks_guard& operator=(const rmap_locks_guard&) = delete;

 private:
  static bool writes() { return policy().mremap_rmap_lock == mremap_rmap_lock_t::write; }
  static void lock(rwsem_t& lock) NO_THREAD_SAFETY_ANALYSIS { writes() ? down_write(lock) : down_read(lock); }
  static void unlock(rwsem_t& lock) NO_THREAD_SAFETY_ANALYSIS { writes() ? up_write(lock) : up_read(lock); }

  mmap_region& lower_;
  mmap_region& upper_;
  address_space* const mapping_;
};

/// A piece of a move that one PMD entry covers at both ends.
struct extent {
  vm_area_struct& old_vma;
  vm_area_struct& new_vma;
  vaddr_t old_addr;
  vaddr_t new_addr;
  u64 len;

  [[nodiscard]] mm_struct& mm() const { return *old_vma.vm_mm; }
  [[nodiscard]] bool whole_pmd() const { return len == pmd_size(); }
};

/// The old addresses are not translated any more. `tables`: neither do walk caches lead on from there.
void flush_old_range(const extent& e, unsigned stride_shift, bool tables) {
  flush_tlb_mm_range(e.mm().context, e.old_addr, e.old_addr + e.len, stride_shift, tables);
}

/// From one table to another. False: one of them has been taken away. An entry for a page that is on its way
/// elsewhere, or in the swap file, moves like any other: who brings the page back looks at its new place,
/// too.
bool move_ptes(const extent& e, const pmdp_t& old_pmdp, const pmdp_t& new_pmdp) {
  // A page may be looked for at the new place first.
  std::optional<rmap_locks_guard> rmap_locks;
  if (policy().mremap_holds_rmap_lock) rmap_locks.emplace(e.old_vma, e.new_vma);
  const pte_map old_table(old_pmdp);
  const pte_map new_table(new_pmdp);
  if (!old_table || !new_table) return false;
  two_locks_guard ptls(pte_lockptr(old_table.pmd()), pte_lockptr(new_table.pmd()));
  // as in pte_map_lock
  if (!pmd_same(pmdp_get(old_pmdp), old_table.pmd()) || !pmd_same(pmdp_get(new_pmdp), new_table.pmd()))
    return false;
  flush_tlb_batched_pending(e.mm()); // entries that are gone, but not flushed
  bool flush = false;
  for (u64 done = 0; done < e.len; done += PAGE_SIZE) {
    const ptep_t from = old_table.at(e.old_addr + done);
    if (pte_none(ptep_get(from))) continue;
    // exchange: what hardware recorded up to now comes along, and nothing is recorded later
    const pte_t pte = ptep_get_and_clear(e.old_addr + done, from);
    flush |= pte_present(pte);
    set_pte_at(e.new_addr + done, new_table.at(e.new_addr + done), pte);
  }
  // While the locks are held nobody finds the entries at their new place, and frees their pages, before
  // accesses at the old one have ended (eb66ae030829).
  if (!policy().mremap_flush_under_ptl) ptls.unlock();
  if (flush) flush_old_range(e, PAGE_SHIFT, false);
  return true;
}

/// A whole table changes its place. False: it cannot, as the entry is no table by now, or something is in the
/// new place.
bool move_normal_pmd(const extent& e, const pmdp_t& from, const pmdp_t& to) {
  rmap_locks_guard rmap_locks(e.old_vma, e.new_vma);
  two_locks_guard pmls(pmd_lockptr(from), pmd_lockptr(to));
  const pmd_t pmd = pmdp_get(from);
  // who retracts tables of files holds no lock that this has excluded from the start (H3)
  if (policy().mremap_rechecks_pmd && !pmd_is_table(pmd)) return false;
  if (!pmd_none(pmdp_get(to))) return false;
  VM_BUG_ON(!pmd_is_table(pmd), "INV-TBL", "what is moved as a table is none");
  pmd_clear(from);
  // What is in the table has been there for who holds these locks, and is there for who finds it by its new
  // entry: pairs with the address dependency of lockless walks, as in pmd_install().
  smp_wmb();
  pmd_populate_raw(to, pmd_table_pfn(pmd));
  if (!policy().mremap_flush_under_ptl) pmls.unlock();
  flush_old_range(e, PAGE_SHIFT, true);
  return true;
}

/// A huge entry, or a migration entry of one, changes its place, and with it the table that was deposited
/// behind it. False: it is none by now.
bool move_huge_pmd(const extent& e, const pmdp_t& from, const pmdp_t& to) {
  // as in move_ptes()
  std::optional<rmap_locks_guard> rmap_locks;
  if (policy().mremap_holds_rmap_lock) rmap_locks.emplace(e.old_vma, e.new_vma);
  two_locks_guard pmls(pmd_lockptr(from), pmd_lockptr(to));
  if (!is_huge_or_migration(pmdp_get(from)) || !pmd_none(pmdp_get(to))) return false;
  const pmd_t pmd = pmdp_get_and_clear(e.old_addr, from);
  serialize_against_pte_lookup(e.mm()); // before a fault can put a table here (S1.3)
  if (pmd_has_deposit(pmd)) pgtable_trans_huge_deposit(to, pgtable_trans_huge_withdraw(from));
  set_pmd_at(e.new_addr, to, pmd);
  if (!policy().mremap_flush_under_ptl) pmls.unlock();
  flush_old_range(e, pmd_shift(), false);
  return true;
}

/// Is the entry moved as it is, rather than the table that it leads to?
bool moves_as_huge(pmd_t pmd) {
  return policy().mremap_tests_devmap ? is_huge_or_migration(pmd)
                                      : pmd_trans_huge(pmd) || is_pmd_migration_entry(pmd);
}

enum class moved : u8 { yes, nothing_there, no_memory };

moved move_extent(const extent& e) {
  const pmd_lookup from = find_pmd(e.mm(), e.old_addr);
  if (!from.found) return moved::nothing_there;
  const pmd_t pmd = pmdp_get_lockless(from.pmdp);
  if (pmd_none(pmd)) return moved::nothing_there;
  const pmd_lookup to = pmd_alloc(e.mm(), e.new_addr);
  if (!to.found) return moved::no_memory;
  if (moves_as_huge(pmd)) {
    if (e.whole_pmd() && move_huge_pmd(e, from.pmdp, to.pmdp)) return moved::yes;
    split_huge_pmd(e.old_vma, e.old_addr, from.pmdp);
  } else if (e.whole_pmd() && move_normal_pmd(e, from.pmdp, to.pmdp)) {
    return moved::yes;
  }
  while (pmd_is_table(pmdp_get_lockless(from.pmdp))) {
    if (!pte_alloc(e.mm(), to.pmdp)) return moved::no_memory;
    if (move_ptes(e, from.pmdp, to.pmdp)) return moved::yes;
  }
  return moved::nothing_there;
}

} // namespace

u64 move_page_tables(vm_area_struct& old_vma, vaddr_t old_addr, vm_area_struct& new_vma, vaddr_t new_addr,
                     u64 len) {
  mm_struct& mm = *old_vma.vm_mm;
  mmap_region& from_region = *mm.existing_region(old_addr);
  mmap_region& to_region = *mm.existing_region(new_addr);
  const bool may_have_anon = (old_vma.vm_flags.get() & VM_SHARED) == 0;
  if (may_have_anon && &from_region != &to_region && !anon_vma_clone(to_region, from_region)) return 0;
  mmu_notifier_invalidation notify(mm, mmu_notifier_event::unmap, old_addr, old_addr + len);
  for (u64 done = 0, next; done < len; done = next) {
    const vaddr_t from = old_addr + done;
    const vaddr_t to = new_addr + done;
    const u64 piece =
        std::min(pmd_addr_end(from, old_addr + len) - from, pmd_addr_end(to, new_addr + len) - to);
    if (move_extent({old_vma, new_vma, from, to, piece}) == moved::no_memory) return done;
    next = done + piece;
  }
  return len;
}

// ---- the call --------------------------------------------------------------------------------------------

namespace {

/// The regions of two ranges, locked for writing, lowest first.
class two_ranges_guard {
 public:
  two_ranges_guard(mm_struct& mm, vaddr_t a, vaddr_t a_end, vaddr_t b, vaddr_t b_end) {
    if (!make_regions(mm, a, a_end) || !make_regions(mm, b, b_end)) return;
    const unsigned root = geometry().root_level();
    const auto region_of = [root](vaddr_t addr) { return geometry().index(addr, root); };
    if (region_of(a_end - 1) < region_of(b)) {
      lower_.emplace(mm, a, a_end);
      if (lower_->ok()) upper_.emplace(mm, b, b_end);
    } else if (region_of(b_end - 1) < region_of(a)) {
      lower_.emplace(mm, b, b_end);
      if (lower_->ok()) upper_.emplace(mm, a, a_end);
    } else { // ranges that share a region touch no other regions than those from the first to the last
      lower_.emplace(mm, std::min(a, b), std::max(a_end, b_end));
    }
  }
  [[nodiscard]] bool ok() const { return lower_ && lower_->ok() && (!upper_ || upper_->ok()); }

 private:
  std::optional<regions_guard> lower_;
  std::optional<regions_guard> upper_;
};

/// A call of mremap that moves.
struct remap {
  vaddr_t old_addr;
  u64 old_len;
  vaddr_t new_addr;
  u64 new_len; ///< not below old_len
  bool dontunmap;

  [[nodiscard]] vaddr_t old_end() const { return old_addr + old_len; }
  [[nodiscard]] vaddr_t new_end() const { return new_addr + new_len; }
};

/// What the range maps, if all of it is mapped and is alike, as one area is. (A region's end cuts areas in
/// two; what was mapped as one is remapped as one.)
std::optional<vma_contents> contents_of_range(const regions_guard& range) {
  std::optional<vma_contents> what;
  bool alike = true;
  vaddr_t first = 0;
  range.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    for_each_vma(region, start, end, [&](const vm_area_struct& vma) {
      const vma_contents here = contents_of(vma).advanced(start - vma.vm_start.get());
      if (!what) first = start;
      alike = alike && vma.vm_start.get() <= start && here == what.value_or(here).advanced(start - first);
      if (!what) what = here;
      start = vma.vm_end.get();
    });
    alike = alike && start >= end;
  });
  return alike ? what : std::nullopt;
}

/// The old entries' marks of userfaultfd's write protection go. Caller holds the area's vm_lock for writing.
void clear_uffd_wp(mm_struct& mm, vaddr_t start, vaddr_t end) {
  mmu_gather tlb(mm);
  tlb_gather_mmu(tlb);
  change_protection(tlb, start, end, {}, cp_flags::uffd_wp_resolve);
  tlb_finish_mmu(tlb);
}

/// A new area at `to` takes over what the old one maps from `from` on. False when memory is short; then
/// nothing has changed.
bool move_area(vm_area_struct& old_vma, vaddr_t from, vaddr_t to, u64 len) {
  mm_struct& mm = *old_vma.vm_mm;
  mmap_region& region = *mm.existing_region(to);
  if (region.areas.size() >= MAX_MAP_COUNT || !region.areas.preallocate()) return false;
  mmap_region& old_region = *mm.existing_region(from);
  // so that going back, if need be, takes no memory
  if (&old_region != &region && !anon_vma_clone(old_region, region)) return false;
  vm_area_struct* vma = region.vm_area_alloc(mm);
  if (vma == nullptr) return false;
  u64 done = 0;
  {
    // no fault puts an entry where one leaves or arrives
    write_guard old_lock(old_vma.vm_lock);
    write_guard new_lock(vma->vm_lock);
    vma_contents what = contents_of(old_vma).advanced(from - old_vma.vm_start.get()).unregistered();
    what.flags = what.flags | VM_SOFTDIRTY; // all of it is new there
    vma_attach_locked(region, *vma, to, to + len, what);
    atomic_or(vma->bars, READ_ONCE(old_vma.bars) & BIT(VMA_HAS_ANON));
    done = move_page_tables(old_vma, from, *vma, to, len);
    if (done < len)
      move_page_tables(*vma, to, old_vma, from, done);
    else if (userfaultfd_wp(old_vma))
      clear_uffd_wp(mm, to, to + len);
  }
  if (done == len) return true;
  unmap_in_region(mm, region, to, to + len);
  return false;
}

/// An area, and how much of the range it maps from an address on, up to the end of the region of the other
/// address.
struct piece {
  vm_area_struct& vma;
  u64 len;
};
piece piece_at(const mm_struct& mm, vaddr_t addr, vaddr_t other, u64 len) {
  vm_area_struct& vma = *mm.existing_region(addr)->areas.find_vma(addr);
  return {vma, std::min({len, vma.vm_end.get() - addr, mm.existing_region(other)->end - other})};
}

/// While it lives faults in the old range wait for the mmap_lock. An area whose entries have left is still
/// there until it is unmapped: a fault that its vm_lock let in would put a page there that goes with it, and
/// what was stored is lost. (Linux's vma_start_write() lasts until the mmap_lock is dropped.)
class faults_wait {
 public:
  explicit faults_wait(const regions_guard& range) : range_(range) { let_in(false); }
  ~faults_wait() { let_in(true); }
  faults_wait(const faults_wait&) = delete;
  faults_wait& operator=(const faults_wait&) = delete;

 private:
  void let_in(bool faults) {
    range_.for_each([faults](mmap_region& region, vaddr_t from, vaddr_t to) {
      for_each_vma(region, from, to, [faults](vm_area_struct& vma) {
        write_guard vm_lock(vma.vm_lock);
        vma.attached.set(faults);
      });
    });
  }

  const regions_guard& range_;
};

/// Puts back what has been moved, which needs no memory.
void move_back(mm_struct& mm, const remap& m, u64 len) {
  for (u64 done = 0; done < len;) {
    const piece p = piece_at(mm, m.new_addr + done, m.old_addr + done, len - done);
    vm_area_struct& old_vma = *mm.existing_region(m.old_addr + done)->areas.find_vma(m.old_addr + done);
    write_guard new_lock(p.vma.vm_lock);
    write_guard old_lock(old_vma.vm_lock);
    const u64 back = move_page_tables(p.vma, m.new_addr + done, old_vma, m.old_addr + done, p.len);
    VM_BUG_ON(back != p.len, "INV-TBL", "what was moved cannot be moved back");
    done += p.len;
  }
  if (len == 0) return;
  const regions_guard range(mm, m.new_addr, m.new_addr + len, regions_guard::locked_already{});
  range.for_each(
      [&](mmap_region& region, vaddr_t from, vaddr_t to) { unmap_in_region(mm, region, from, to); });
}

/// Maps [start, end), where nothing is mapped. False when memory is short; then nothing has changed.
bool map_new(mm_struct& mm, vaddr_t start, vaddr_t end, const vma_contents& what) {
  if (start == end) return true;
  const regions_guard range(mm, start, end, regions_guard::locked_already{});
  if (!make_room(range, mm)) return false;
  range.for_each([&](mmap_region& region, vaddr_t from, vaddr_t to) {
    map_in_region(region, from, to, what.advanced(from - start));
  });
  return true;
}

/// Moves to where nothing is mapped. Both ranges' regions are locked, the old one is mapped.
long move_vma(mm_struct& mm, const remap& m, const vma_contents& what) {
  const regions_guard old_range(mm, m.old_addr, m.old_end(), regions_guard::locked_already{});
  if (const int error = split_at_ends(old_range, m.old_addr, m.old_end())) return error;
  const faults_wait no_faults(old_range);
  u64 done = 0;
  while (done < m.old_len) {
    const piece p = piece_at(mm, m.old_addr + done, m.new_addr + done, m.old_len - done);
    if (!move_area(p.vma, m.old_addr + done, m.new_addr + done, p.len)) break;
    done += p.len;
  }
  if (done < m.old_len ||
      !map_new(mm, m.new_addr + m.old_len, m.new_end(), what.advanced(m.old_len).unregistered())) {
    move_back(mm, m, done);
    return -ENOMEM;
  }
  if (!m.dontunmap)
    old_range.for_each(
        [&](mmap_region& region, vaddr_t from, vaddr_t to) { unmap_in_region(mm, region, from, to); });
  const regions_guard new_range(mm, m.new_addr, m.new_end(), regions_guard::locked_already{});
  new_range.for_each([&](mmap_region& region, vaddr_t from, vaddr_t to) { merge_vmas_in(region, from, to); });
  return static_cast<long>(m.new_addr);
}

/// MREMAP_FIXED: in place of what is mapped there.
long mremap_to(mm_struct& mm, const remap& m) {
  two_ranges_guard locks(mm, m.old_addr, m.old_end(), m.new_addr, m.new_end());
  if (!locks.ok()) return -ENOMEM;
  const regions_guard old_range(mm, m.old_addr, m.old_end(), regions_guard::locked_already{});
  const regions_guard new_range(mm, m.new_addr, m.new_end(), regions_guard::locked_already{});
  const auto what = contents_of_range(old_range);
  if (!what) return -EFAULT;
  if (const int error = split_at_ends(new_range, m.new_addr, m.new_end())) return error;
  new_range.for_each(
      [&](mmap_region& region, vaddr_t from, vaddr_t to) { unmap_in_region(mm, region, from, to); });
  return move_vma(mm, m, *what);
}

/// To where there is room in one region, or in a run of empty ones. -EEXIST if there is none.
long mremap_to_hole(mm_struct& mm, remap m, vaddr_t region_start) {
  const u64 region_size = geometry().size(geometry().root_level());
  const u64 span = std::max(region_size, m.new_len);
  if (span > geometry().address_limit() - region_start) return -EEXIST;
  two_ranges_guard locks(mm, m.old_addr, m.old_end(), region_start, region_start + span);
  if (!locks.ok()) return -ENOMEM;
  const regions_guard old_range(mm, m.old_addr, m.old_end(), regions_guard::locked_already{});
  const auto what = contents_of_range(old_range);
  if (!what) return -EFAULT;
  if (m.new_len > region_size) {
    m.new_addr = region_start;
    const regions_guard new_range(mm, m.new_addr, m.new_end(), regions_guard::locked_already{});
    return anything_mapped(new_range) ? -EEXIST : move_vma(mm, m, *what);
  }
  mmap_region& region = *mm.existing_region(region_start);
  // where whole tables can move, if any can: as far from the beginning of one as now
  const u64 offset = m.old_len >= pmd_size() ? m.old_addr & ~pmd_mask() : 0;
  const vaddr_t hole =
      find_hole(region, offset + m.new_len, m.old_len >= pmd_size() ? pmd_size() : PAGE_SIZE);
  if (hole == region.end) return -EEXIST;
  m.new_addr = hole + offset;
  const long at = move_vma(mm, m, *what);
  if (at < 0 || offset > 0) note_hole(region, hole);
  return at;
}

long mremap_anywhere(mm_struct& mm, const remap& m) {
  const unsigned regions = geometry().entries();
  const u64 region_size = geometry().size(geometry().root_level());
  const unsigned home = geometry().index(m.old_addr, geometry().root_level());
  for (unsigned i = 0; i < regions; ++i) {
    const long at = mremap_to_hole(mm, m, u64{(home + regions - i) % regions} * region_size);
    if (at != -EEXIST) return at;
  }
  return -ENOMEM;
}

/// Smaller, or larger where it is. -EEXIST if something is in the way.
long mremap_in_place(mm_struct& mm, vaddr_t addr, u64 old_len, u64 new_len) {
  const vaddr_t end = addr + std::min(std::max(old_len, new_len), geometry().address_limit() - addr);
  const bool in_reach = new_len <= end - addr;
  regions_guard regions(mm, addr, end);
  if (!regions.ok()) return -ENOMEM;
  const regions_guard old_range(mm, addr, addr + old_len, regions_guard::locked_already{});
  const auto what = contents_of_range(old_range);
  if (!what) return -EFAULT;
  if (new_len > old_len) {
    const regions_guard behind(mm, addr + old_len, end, regions_guard::locked_already{});
    if (!in_reach || anything_mapped(behind)) return -EEXIST;
    return map_new(mm, addr + old_len, addr + new_len, what->advanced(old_len)) ? static_cast<long>(addr)
                                                                                : -ENOMEM;
  }
  if (new_len == old_len) return static_cast<long>(addr);
  const regions_guard rest(mm, addr + new_len, addr + old_len, regions_guard::locked_already{});
  if (const int error = split_at_ends(rest, addr + new_len, addr + old_len)) return error;
  rest.for_each(
      [&](mmap_region& region, vaddr_t from, vaddr_t to) { unmap_in_region(mm, region, from, to); });
  return static_cast<long>(addr);
}

/// A second mapping of what is mapped shared at `addr`; private memory has none.
long map_again(mm_struct& mm, vaddr_t addr, u64 len, int flags, vaddr_t new_addr) {
  vma_contents what;
  {
    regions_guard regions(mm, addr, addr + PAGE_SIZE);
    if (!regions.ok()) return -ENOMEM;
    const auto found = contents_of_range(regions);
    if (!found) return -EFAULT;
    if ((found->flags & VM_SHARED) == 0 || (flags & MREMAP_MAYMOVE) == 0) return -EINVAL;
    what = *found;
    get_file(*what.backing); // while no area holds it for this call
  }
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  const long at = do_mmap(mm, fixed ? new_addr : 0, len, fixed ? MAP_FIXED : 0, what.unregistered());
  fput(*what.backing);
  return at;
}

} // namespace

long vm_mremap(mm_struct& mm, vaddr_t old_addr, u64 old_len, u64 new_len, int flags, vaddr_t new_addr) {
  const bool may_move = (flags & MREMAP_MAYMOVE) != 0;
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  const bool dontunmap = (flags & MREMAP_DONTUNMAP) != 0;
  if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0) return -EINVAL;
  if ((fixed || dontunmap) && !may_move) return -EINVAL;
  const vaddr_t limit = geometry().address_limit();
  if ((old_addr & ~PAGE_MASK) != 0 || old_len > limit || new_len > limit) return -EINVAL;
  old_len = page_align(old_len);
  new_len = page_align(new_len);
  if (new_len == 0 || (dontunmap && old_len != new_len)) return -EINVAL;
  if (fixed) {
    if ((new_addr & ~PAGE_MASK) != 0 || new_addr > limit || new_len > limit - new_addr) return -EINVAL;
    if (new_addr < old_addr + old_len && old_addr < new_addr + new_len) return -EINVAL;
  }
  if (old_addr >= limit || old_len > limit - old_addr) return -EFAULT;
  if (old_len == 0) return map_again(mm, old_addr, new_len, flags, new_addr);
  if (!fixed && !dontunmap) {
    const long at = mremap_in_place(mm, old_addr, old_len, new_len);
    if (at != -EEXIST) return at;
    if (!may_move) return -ENOMEM;
  }
  if (old_len > new_len) {
    if (const long error = mremap_in_place(mm, old_addr, old_len, new_len); error < 0) return error;
    old_len = new_len;
  }
  const remap m{old_addr, old_len, new_addr, new_len, dontunmap};
  return fixed ? mremap_to(mm, m) : mremap_anywhere(mm, m);
}

} // namespace racewalk::inline RACEWALK_BACKEND
