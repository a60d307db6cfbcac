#include "mm/gup.h"

#include <algorithm>
#include <cerrno>

#include "machine/cpu.h"
#include "mm/file_fault.h"
#include "mm/filemap.h"
#include "mm/memory.h"
#include "mm/memremap.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the section -----------------------------------------------------------------------------------------

namespace {

mm_struct& counted_mm(mm_struct& walked) {
  if (policy().walk_tracking == walk_tracking_t::none || policy().walker_count_mm == whose_mm_t::own)
    return walked;
  mm_context* current = this_cpu().current_mm();
  return current == nullptr ? walked : mm_of(*current);
}

void section_begin() {
  switch (policy().gup_section) {
  case gup_section_t::irq_off:
    local_irq_disable();
    break;
  case gup_section_t::rcu:
    rcu_read_lock();
    break;
  case gup_section_t::none:
    break;
  }
}

void section_end() {
  switch (policy().gup_section) {
  case gup_section_t::irq_off:
    local_irq_enable();
    break;
  case gup_section_t::rcu:
    rcu_read_unlock();
    break;
  case gup_section_t::none:
    break;
  }
}

} // namespace

lockless_walk::lockless_walk(mm_struct& mm) : counted_(counted_mm(mm)) {
  if (policy().walk_tracking == walk_tracking_t::count) {
    atomic_inc(counted_.lockless_walkers);
    // The count, then the walk: pairs with the barrier between changing an entry and reading the count in
    // serialize_against_pte_lookup() (S1.9).
    if (policy().walker_count_inc_barrier) smp_mb__after_atomic();
  }
  // Begins what freeing a table waits for: pairs with call_rcu() in tlb_table_flush(), and with the
  // interrupts of tlb_remove_table_sync_one() and of shootdowns that interrupt.
  section_begin();
}

lockless_walk::~lockless_walk() {
  section_end();
  if (policy().walk_tracking == walk_tracking_t::count) {
    // The walk, then the count: pairs as above; without it a late read of a table may follow the decrement.
    if (policy().walker_count_dec_barrier) smp_mb__before_atomic();
    atomic_dec(counted_.lockless_walkers);
    if (policy().serialize_mode == serialize_mode_t::wait_count) wake_up_all(counted_.lockless_walkers);
  }
}

// ---- the fast path ---------------------------------------------------------------------------------------

namespace {

enum class foll : u8 { get, pin };

/// What is asked for, and what has been got so far.
struct gup_request {
  mm_struct& mm;
  foll how;
  bool write;
  bool force;    ///< FOLL_FORCE
  bool longterm; ///< FOLL_LONGTERM
  page** pages;
  u64 nr = 0;
  bool faulted = false; ///< for the page at hand
};

/// May the page be pinned for that long? Not for writing if writeback relies on hearing of each store: a
/// device stores without a fault (S5.10).
bool longterm_allowed(const gup_request& gup, const folio* folio) {
  return !gup.longterm || !gup.write || !policy().longterm_refuses_file ||
         mm_counter_of(folio) != MM_FILEPAGES;
}
bool longterm_allowed(const gup_request& gup, const vm_area_struct& vma) {
  return !gup.longterm || !gup.write || !policy().longterm_refuses_file || !vma_wants_writenotify(vma);
}

gup_request request(mm_struct& mm, foll how, gup_flags flags, page** pages) {
  return {mm, how, (flags & FOLL_WRITE) != 0, (flags & FOLL_FORCE) != 0, (flags & FOLL_LONGTERM) != 0, pages};
}

/// Must the page, which an entry that forbids stores led to, become the mm's alone before it is pinned? Else
/// the mm's next store would go to a copy, and the pin's holder would not see it (H5).
bool gup_must_unshare(const gup_request& gup, page* page) {
  return gup.how == foll::pin && policy().gup_unshares && folio_test_anon(page_folio(page)) &&
         !PageAnonExclusive(page);
}

void gup_put_folio(folio* folio, s32 refs, foll how) {
  how == foll::pin ? folio_put_pins(folio, refs) : folio_put_refs(folio, refs);
}

/// Takes a pin of a page that an entry led to, without a lock. Null: not to be had. (M3) `found` is the read
/// of the entry: what its writer did to the page before is seen by address dependency.
folio* try_pin_folio_fast(page* page, dep_t found, s32 refs) {
  folio* folio = page_folio(page, found);
  const bool large = folio_test_large(folio);
  if (try_get_page_pin(folio, refs, large) != pin_result::pinned) return nullptr;
  // The folio may have been freed, and its pages made part of another, before the pin was taken.
  if (!policy().gup_recheck_folio || (page_folio(page) == folio && folio_test_large(folio) == large))
    return folio;
  folio_put_pins(folio, refs, large);
  return nullptr;
}

/// The same for a reference.
folio* try_get_folio_fast(page* page, dep_t found, s32 refs) {
  folio* folio = page_folio(page, found);
  if (!folio_try_get(folio, refs)) return nullptr;
  if (!policy().gup_recheck_folio || page_folio(page) == folio) return folio;
  folio_put_refs(folio, refs);
  return nullptr;
}

folio* try_grab_folio_fast(page* page, dep_t found, s32 refs, foll how) {
  return how == foll::pin ? try_pin_folio_fast(page, found, refs) : try_get_folio_fast(page, found, refs);
}

/// Does the entry that led to the page still lead there? Asked after the reference was taken: who changes an
/// entry and then counts references has either changed it before this read or counts ours. Pairs with the
/// exchange and flush in zap_pte_range() and folio_mkclean(), and with the flush after a table was unhooked.
bool still_mapped(pmdp_t pmdp, pmd_t pmd, ptep_t ptep, pte_t pte) {
  if (policy().pin_scheme == pin_scheme_t::counter) return true;
  if (policy().gup_recheck_pmd && !pmd_same(pmd, pmdp_get_lockless(pmdp))) return false;
  return !policy().gup_recheck_pte || pte_same(pte, ptep_get_lockless(ptep));
}

/// gup_must_unshare() of a page that was pinned and then still found mapped.
bool must_unshare_fast(const gup_request& gup, page* page, bool writable) {
  if (writable) return false;
  // The entry, then the flag: who makes a page shared clears the flag and then gives the entry back, so a
  // walk that found the new entry finds the flag clear. Pairs with the barrier after that in
  // folio_try_share_anon_rmap().
  smp_rmb();
  return gup_must_unshare(gup, page);
}

/// The pin of pin_scheme_t::page_lock. The caller must not sleep, so it tries: if the lock or the folio is
/// busy, the slow path waits.
folio* grab_folio_locked_fast(page* page, pmdp_t pmdp, pmd_t pmd, ptep_t ptep, pte_t pte) {
  folio* folio = try_grab_folio_fast(page, pte.dep, 1, foll::get);
  if (folio == nullptr) return nullptr;
  bool pinned = false;
  const bool locked =
      policy().pin_lock_mode == pin_lock_mode_t::blocking ? (folio_lock(folio), true) : folio_trylock(folio);
  if (locked) {
    const bool stable = !policy().mapping_needs_stable || !folio_test_writeback(folio);
    const bool same = !policy().pin_recheck_pte || still_mapped(pmdp, pmd, ptep, pte);
    pinned = stable && same && folio_try_add_pins(folio, 1);
    folio_unlock(folio);
  }
  folio_put(folio);
  return pinned ? folio : nullptr;
}

folio* grab_mapped_folio(gup_request& gup, page* page, pmdp_t pmdp, pmd_t pmd, ptep_t ptep, pte_t pte) {
  if (gup.how == foll::pin && policy().pin_scheme == pin_scheme_t::page_lock)
    return grab_folio_locked_fast(page, pmdp, pmd, ptep, pte);
  folio* folio = try_grab_folio_fast(page, pte.dep, 1, gup.how);
  if (folio == nullptr) return nullptr;
  // whose it is can be asked only now: before, it might not have been the folio that is mapped
  if (still_mapped(pmdp, pmd, ptep, pte) && !must_unshare_fast(gup, page, pte_write(pte)) &&
      longterm_allowed(gup, folio))
    return folio;
  gup_put_folio(folio, 1, gup.how);
  return nullptr;
}

/// Keeps the device that a page which an entry led to is of, while the page is taken; false if it is going.
class live_pagemap {
 public:
  explicit live_pagemap(pfn_t pfn)
      : wanted_(policy().gup_gets_pagemap), pgmap_(wanted_ ? get_dev_pagemap(pfn) : nullptr) {}
  ~live_pagemap() {
    if (pgmap_ != nullptr) put_dev_pagemap(*pgmap_);
  }
  live_pagemap(const live_pagemap&) = delete;
  live_pagemap& operator=(const live_pagemap&) = delete;
  explicit operator bool() const { return !wanted_ || pgmap_ != nullptr; }

 private:
  bool wanted_;
  dev_pagemap* pgmap_;
};

/// The fast path to a device's pages: `nr` from `first` on, each of which is a folio of its own. still():
/// does the entry lead there yet? False: not all of them are to be had, and none is taken.
template <class Still> bool gup_fast_device(gup_request& gup, page* first, dep_t found, u64 nr, Still still) {
  if (gup.longterm) return false; // for the area to decide, which this walk does not look at
  const live_pagemap pgmap(page_to_pfn(first));
  if (!pgmap) return false;
  const u64 before = gup.nr;
  while (gup.nr - before < nr) {
    page* page = first + (gup.nr - before);
    if (try_grab_folio_fast(page, found, 1, gup.how) == nullptr) break;
    gup.pages[gup.nr++] = page;
  }
  if (gup.nr - before == nr && still()) return true;
  while (gup.nr > before)
    gup_put_folio(page_folio(gup.pages[--gup.nr]), 1, gup.how);
  return false;
}

/// False: an entry stopped the walk.
bool gup_fast_pte_range(gup_request& gup, pmdp_t pmdp, pmd_t pmd, vaddr_t addr, vaddr_t end) {
  for (; addr < end; addr += PAGE_SIZE) {
    const ptep_t ptep = pte_offset(pmd, addr);
    const pte_t pte = ptep_get_lockless(ptep);
    if (pte_protnone(pte) || !pte_access_permitted(pte, gup.write)) return false;
    VM_BUG_ON(!pte_present(pte), "INV-TYPE", "a page was taken from an entry that is not present");
    page* page = pfn_to_page(pte_pfn(pte));
    if (pte_devmap(pte)) {
      if (!gup_fast_device(gup, page, pte.dep, 1, [&] { return still_mapped(pmdp, pmd, ptep, pte); }))
        return false;
      continue;
    }
    if (pte_special(pte)) return false;
    if (grab_mapped_folio(gup, page, pmdp, pmd, ptep, pte) == nullptr) return false;
    gup.pages[gup.nr++] = page;
  }
  return true;
}

bool gup_fast_pmd_leaf(gup_request& gup, pmdp_t pmdp, pmd_t pmd, vaddr_t addr, vaddr_t end) {
  if (pmd_protnone(pmd) || !pmd_access_permitted(pmd, gup.write) || pmd_special(pmd)) return false;
  // Who has invalidated the entry and found no pin relies on there being none from then on (M33); not every
  // architecture's test of access says so (S4.7).
  if (policy().gup_refuses_invalid && !pmd_valid(pmd)) return false;
  VM_BUG_ON(!pmd_present(pmd), "INV-TYPE", "a page was taken from an entry that is not present");
  VM_BUG_ON(!pfn_valid(pmd_pfn(pmd)), "INV-TYPE", "a page was taken from bits that are no pfn");
  const auto refs = static_cast<s32>((end - addr) >> PAGE_SHIFT);
  page* first = pfn_to_page(pmd_pfn(pmd)) + ((addr & ~pmd_mask()) >> PAGE_SHIFT);
  // as below: pairs with the exchange in zap_devmap_pmd() and the barrier in dax_layout_busy_page()
  if (pmd_devmap(pmd))
    return gup_fast_device(gup, first, pmd.dep, static_cast<u64>(refs), [&] {
      return !policy().gup_recheck_pmd || pmd_same(pmd, pmdp_get_lockless(pmdp));
    });
  folio* folio = try_grab_folio_fast(first, pmd.dep, refs, gup.how);
  if (folio == nullptr) return false;
  // as still_mapped(): pairs with the exchange in zap_huge_pmd() and split_huge_pmd_address()
  if ((policy().gup_recheck_pmd && !pmd_same(pmd, pmdp_get_lockless(pmdp))) ||
      must_unshare_fast(gup, &folio->page, pmd_write(pmd))) {
    gup_put_folio(folio, refs, gup.how);
    return false;
  }
  for (s32 i = 0; i < refs; ++i)
    gup.pages[gup.nr++] = first + i;
  return true;
}

bool gup_fast_pmd_range(gup_request& gup, pudp_t pudp, pud_t pud, vaddr_t addr, vaddr_t end) {
  for (vaddr_t next; addr < end; addr = next) {
    next = pmd_addr_end(addr, end);
    const pmdp_t pmdp = pmd_offset(pudp, pud, addr);
    const pmd_t pmd = pmdp_get_lockless(pmdp);
    if (!pmd_present(pmd)) return false;
    if (pmd_leaf(pmd) ? !gup_fast_pmd_leaf(gup, pmdp, pmd, addr, next)
                      : !gup_fast_pte_range(gup, pmdp, pmd, addr, next))
      return false;
  }
  return true;
}

bool gup_fast_pud_range(gup_request& gup, pgdp_t pgdp, pgd_t pgd, vaddr_t addr, vaddr_t end) {
  for (vaddr_t next; addr < end; addr = next) {
    next = pud_addr_end(addr, end);
    const pudp_t pudp = pud_offset(pgdp, pgd, addr);
    const pud_t pud = pudp_get(pudp);
    if (!pud_present(pud) || !gup_fast_pmd_range(gup, pudp, pud, addr, next)) return false;
  }
  return true;
}

/// Each level is read once and followed; an entry that changes behind the walk's back costs a page, never a
/// wrong one.
void gup_fast_pgd_range(gup_request& gup, vaddr_t addr, vaddr_t end) {
  lockless_walk section(gup.mm);
  for (vaddr_t next; addr < end; addr = next) {
    next = pgd_addr_end(addr, end);
    const pgdp_t pgdp = pgd_offset(gup.mm, addr);
    const pgd_t pgd = pgdp_get(pgdp);
    if (!pgd_present(pgd) || !gup_fast_pud_range(gup, pgdp, pgd, addr, next)) return;
  }
}

/// Tells forks that they have to look for pins. Before the pins, which are full barriers: a fork that does
/// not see this has its sequence seen by gup_fast().
void mm_set_has_pinned_flag(mm_struct& mm) {
  if (!test_bit(MMF_HAS_PINNED, mm.flags)) set_bit(MMF_HAS_PINNED, mm.flags);
}

/// Drops one pin of each page, neighbours in one folio together.
void drop_pins(page* const* pages, u64 nr_pages) {
  for (u64 i = 0; i < nr_pages;) {
    folio* folio = page_folio(pages[i]);
    u64 n = i + 1;
    while (n < nr_pages && page_folio(pages[n]) == folio)
      ++n;
    if (!is_zero_page(pages[i])) folio_put_pins(folio, static_cast<s32>(n - i));
    i = n;
  }
}

/// Takes what it can get from the tables as they are.
void gup_fast(gup_request& gup, vaddr_t addr, vaddr_t end) {
  if (gup.how == foll::get || !policy().fork_write_protect_seq) return gup_fast_pgd_range(gup, addr, end);
  // The sequence, the walk, the pins, the sequence: a pin comes after a fork's look for it only if that fork
  // has begun by the second read. Pairs with the barriers in write_protect_section (fork.cc).
  const u32 seq = smp_load_acquire(gup.mm.write_protect_seq);
  if ((seq & 1) != 0) return;
  gup_fast_pgd_range(gup, addr, end);
  smp_rmb(); // as above; the pins are full barriers
  if (READ_ONCE(gup.mm.write_protect_seq) == seq) return;
  drop_pins(gup.pages, gup.nr);
  gup.nr = 0;
}

// ---- the slow path ---------------------------------------------------------------------------------------

/// What became of one page of the slow path.
enum class follow : u8 {
  done,
  fault,     ///< not there, or not with this access
  unshare,   ///< it is there, but somebody else's too
  writeback, ///< the pin met writeback: wait and try again
  retry,     ///< it changed under way
  refused,   ///< its count has no room
  gone,      ///< its device is going
};

/// A reference or pin under the page-table lock, which keeps the page alive and out of the hands of who
/// changes the entry.
follow grab_under_lock(gup_request& gup, page* page) {
  folio* folio = page_folio(page);
  if (gup.how == foll::get) return folio_try_get(folio, 1) ? follow::done : follow::refused;
  if (is_zero_page(page)) return follow::done; // it goes nowhere: its pins are not counted
  switch (try_get_page_pin(folio, 1)) {
  case pin_result::pinned:
    return follow::done;
  case pin_result::writeback:
    // to wait for it, keep the folio beyond the lock
    folio_get(folio);
    return follow::writeback;
  case pin_result::refused:
    break;
  }
  return follow::refused;
}

/// May a store be forced that the entry forbids? Only to a page that nobody else sees: a write fault has made
/// it the mm's alone, and it still is. A mark of that fault would not do, since the page may have become
/// another one since (H4).
bool can_force_write(const gup_request& gup, page* page, bool dirty) {
  switch (policy().force_write) {
  case force_write_t::exclusive:
    return gup.force && folio_test_anon(page_folio(page)) && PageAnonExclusive(page);
  case force_write_t::dropped:
    return false; // still_writes()
  case force_write_t::dirty:
    return gup.force && gup.faulted && dirty;
  }
  return false;
}

/// Is it a store that the entry must allow? (Before 19be0eaffa3a a forced one was a load once it had
/// faulted.)
bool still_writes(const gup_request& gup) {
  return gup.write && !(policy().force_write == force_write_t::dropped && gup.force && gup.faulted);
}

/// What a present entry says of an access.
struct entry_rights {
  bool permitted;
  bool writable;
  bool dirty;
  bool special;
};

/// Whether a present entry for the page gives the access, and if so exclusively enough.
follow access_by_entry(const gup_request& gup, page* page, entry_rights entry) {
  if (!entry.permitted && !(gup.write && can_force_write(gup, page, entry.dirty))) return follow::fault;
  // Zeros are nobody's, and stay what they are: that matters to who keeps them long enough to see the stores
  // that come.
  const bool unshare = entry.special ? gup.longterm : !entry.writable && gup_must_unshare(gup, page);
  return unshare ? follow::unshare : follow::done;
}

follow page_of_pte(const gup_request& gup, pte_t pte, page** result) {
  if (!pte_present(pte) || pte_protnone(pte)) return follow::fault;
  *result = pfn_to_page(pte_pfn(pte));
  const bool zeros = pte_special(pte) && !pte_devmap(pte);
  return access_by_entry(
      gup, *result, {pte_access_permitted(pte, still_writes(gup)), pte_write(pte), pte_dirty(pte), zeros});
}

follow page_of_huge_pmd(const gup_request& gup, pmd_t pmd, vaddr_t addr, page** result) {
  if (!pmd_is_huge(pmd) || pmd_protnone(pmd)) return follow::fault;
  page* head = pfn_to_page(pmd_pfn(pmd));
  *result = head + ((addr & ~pmd_mask()) >> PAGE_SHIFT);
  return access_by_entry(
      gup, head,
      {pmd_access_permitted(pmd, still_writes(gup)), pmd_write(pmd), pmd_dirty(pmd), pmd_special(pmd)});
}

/// take(page); of a device's page, which the entry of cannot go meanwhile, only if that is not going.
template <class Take> follow take_page(page* page, Take take) {
  if (!is_zone_device_pfn(page_to_pfn(page))) return take(page);
  const live_pagemap pgmap(page_to_pfn(page));
  return pgmap ? take(page) : follow::gone;
}

/// Looks at `addr` under the lock of its table, and calls take(page) there if the access is granted.
template <class Take> follow with_mapped_page(gup_request& gup, vaddr_t addr, page** result, Take take) {
  const pmd_lookup at = find_pmd(gup.mm, addr);
  if (!at.found) return follow::fault;
  const pmd_t pmd = pmdp_get_lockless(at.pmdp);
  if (pmd_is_huge(pmd)) {
    spin_guard pml(pmd_lockptr(at.pmdp));
    const follow found = page_of_huge_pmd(gup, pmdp_get(at.pmdp), addr, result);
    return found == follow::done ? take_page(*result, take) : found;
  }
  pte_map_lock table(at.pmdp);
  if (!table) return follow::fault;
  const follow found = page_of_pte(gup, ptep_get(table.at(addr)), result);
  return found == follow::done ? take_page(*result, take) : found;
}

/// The slow pin of pin_scheme_t::page_lock: reference under the ptl; lock; wait until stable; look again;
/// pin. With pin_lock_mode_t::under_ptl the lock that may sleep is taken inside the one that may not.
follow follow_page_locked(gup_request& gup, vaddr_t addr, page** result) {
  if (policy().pin_lock_mode == pin_lock_mode_t::under_ptl)
    return with_mapped_page(gup, addr, result, [&](page* page) {
      return get_page_pin(page_folio(page)) == pin_result::pinned ? follow::done : follow::refused;
    });
  const auto take_reference = [&](page* page) {
    return folio_try_get(page_folio(page), 1) ? follow::done : follow::refused;
  };
  const follow got = with_mapped_page(gup, addr, result, take_reference);
  if (got != follow::done) return got;
  folio* folio = page_folio(*result);
  folio_lock(folio);
  folio_wait_stable(folio);
  follow outcome = follow::done;
  if (policy().pin_recheck_pte) {
    // what allowed the pin may have been taken away while this slept for the lock (S5.6 P2)
    page* now = nullptr;
    outcome = with_mapped_page(gup, addr, &now, [](page*) { return follow::done; });
    if (outcome == follow::done && now != *result) outcome = follow::retry;
  }
  if (outcome == follow::done && !folio_try_add_pins(folio, 1)) outcome = follow::refused;
  folio_unlock(folio);
  folio_put(folio);
  return outcome;
}

follow follow_page(gup_request& gup, vaddr_t addr, page** result) {
  if (gup.how == foll::pin && policy().pin_scheme == pin_scheme_t::page_lock)
    return follow_page_locked(gup, addr, result);
  return with_mapped_page(gup, addr, result, [&](page* page) { return grab_under_lock(gup, page); });
}

/// What to ask of a fault at a page that is there or not.
fault_flags fault_flags_of(const gup_request& gup, follow found) {
  if (still_writes(gup)) return FAULT_FLAG_WRITE;
  return found == follow::unshare ? FAULT_FLAG_UNSHARE : FAULT_FLAG_NONE;
}

/// One page, faulted in if need be. Caller holds the region's mmap_lock for reading. 0 or a negative errno;
/// -ERESTART: the fault has waited, and dropped the lock for that.
int get_user_page_slow(gup_request& gup, vm_area_struct& vma, vaddr_t addr) {
  gup.faulted = false;
  for (unsigned retry = 0;;) {
    page* page = nullptr;
    const follow found = follow_page(gup, addr, &page);
    switch (found) {
    case follow::done:
      gup.pages[gup.nr++] = page;
      return 0;
    case follow::refused:
      return -ENOMEM;
    case follow::gone:
      return -EFAULT;
    case follow::retry:
      break;
    case follow::writeback:
      pin_wait_for_writeback(page_folio(page));
      folio_put(page_folio(page));
      if (retry++ == policy().pin_retries) return -EAGAIN;
      break;
    case follow::fault:
    case follow::unshare:
      switch (handle_mm_fault(vma, addr, FAULT_FLAG_ALLOW_RETRY | fault_flags_of(gup, found))) {
      case fault_result::handled:
        gup.faulted = true;
        break;
      case fault_result::retry:
        return -ERESTART;
      case fault_result::oom:
        return -ENOMEM;
      case fault_result::sigsegv:
      case fault_result::sigbus:
        return -EFAULT;
      }
      break;
    }
  }
}

/// Without FOLL_FORCE: the area's rights. With it: also a store where one may only read, if it goes to a
/// copy.
bool vma_permits(const vm_area_struct& vma, const gup_request& gup) {
  const bool forced = gup.force && (vma.vm_flags.get() & VM_SHARED) == 0;
  const bool write = gup.write && !forced;
  return (vma.vm_flags.get() & (write ? VM_WRITE : VM_ACCESS_FLAGS)) != 0;
}

int gup_slow(gup_request& gup, vaddr_t addr, vaddr_t end) NO_THREAD_SAFETY_ANALYSIS {
  while (addr < end) {
    mmap_region* region = gup.mm.existing_region(addr);
    if (region == nullptr) return -EFAULT;
    down_read(region->mmap_lock);
    vm_area_struct* vma = region->areas.find_vma(addr);
    const bool permitted =
        vma != nullptr && vma->contains(addr) && vma_permits(*vma, gup) && longterm_allowed(gup, *vma);
    const int error = permitted ? get_user_page_slow(gup, *vma, addr) : -EFAULT;
    if (error == -ERESTART) continue;
    up_read(region->mmap_lock);
    if (error != 0) return error;
    addr += PAGE_SIZE;
  }
  return 0;
}

/// The pages from `start` on; false for addresses that cannot be.
bool gup_range(vaddr_t start, u64 nr_pages, vaddr_t* first, vaddr_t* end) {
  const vaddr_t limit = geometry().address_limit();
  *first = start & PAGE_MASK;
  if (*first >= limit || nr_pages > (limit - *first) >> PAGE_SHIFT) return false;
  *end = *first + (nr_pages << PAGE_SHIFT);
  return true;
}

enum class gup_path : u8 { fast_then_slow, slow };

/// The caller at `at` has all that there is of `gup`.
void write_down(const gup_request& gup, call_site at) {
  if (gup_checked())
    gup_check_got(gup.pages, gup.nr, gup.how == foll::pin ? gup_kind::pin : gup_kind::reference, at);
}

long internal_get_user_pages(gup_request& gup, vaddr_t start, u64 nr_pages, gup_path path, call_site at) {
  vaddr_t first = 0;
  vaddr_t end = 0;
  if (!gup_range(start, nr_pages, &first, &end)) return -EINVAL;
  if (gup.how == foll::pin) mm_set_has_pinned_flag(gup.mm);
  if (path == gup_path::fast_then_slow) gup_fast(gup, first, end);
  const int error = gup.nr == nr_pages ? 0 : gup_slow(gup, first + (gup.nr << PAGE_SHIFT), end);
  write_down(gup, at);
  return gup.nr > 0 || error == 0 ? static_cast<long>(gup.nr) : error;
}

} // namespace

long pin_user_pages_fast(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                         call_site at) {
  gup_request gup = request(mm, foll::pin, flags, pages);
  return internal_get_user_pages(gup, start, nr_pages, gup_path::fast_then_slow, at);
}

long get_user_pages_fast(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                         call_site at) {
  gup_request gup = request(mm, foll::get, flags, pages);
  return internal_get_user_pages(gup, start, nr_pages, gup_path::fast_then_slow, at);
}

long pin_user_pages(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages, call_site at) {
  gup_request gup = request(mm, foll::pin, flags, pages);
  return internal_get_user_pages(gup, start, nr_pages, gup_path::slow, at);
}

u64 pin_user_pages_fast_only(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                             call_site at) {
  vaddr_t first = 0;
  vaddr_t end = 0;
  if (!gup_range(start, nr_pages, &first, &end)) return 0;
  gup_request gup = request(mm, foll::pin, flags, pages);
  mm_set_has_pinned_flag(mm);
  gup_fast(gup, first, end);
  write_down(gup, at);
  return gup.nr;
}

folio* get_mapped_folio(const pmdp_t& pmdp, vaddr_t addr) {
  if (pmd_is_huge(pmdp_get_lockless(pmdp))) {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t pmd = pmdp_get(pmdp);
    if (!pmd_trans_huge(pmd) || !pmd_has_folio(pmd)) return nullptr;
    folio* folio = page_folio(pfn_to_page(pmd_pfn(pmd)));
    folio_get(folio);
    return folio;
  }
  pte_map_lock table(pmdp);
  if (!table) return nullptr;
  const pte_t pte = ptep_get(table.at(addr));
  if (!pte_present(pte) || pte_special(pte) || pte_devmap(pte)) return nullptr;
  folio* folio = page_folio(pfn_to_page(pte_pfn(pte)));
  folio_get(folio);
  return folio;
}

void unpin_user_pages(page* const* pages, u64 nr_pages, call_site at) {
  if (gup_checked())
    for (u64 i = 0; i < nr_pages; ++i)
      gup_check_gives_back(pages[i], gup_kind::pin, at);
  drop_pins(pages, nr_pages);
}

void unpin_user_pages_dirty_lock(page* const* pages, u64 nr_pages, call_site at) {
  for (u64 i = 0; i < nr_pages; ++i) {
    folio* folio = page_folio(pages[i]);
    // Dirty before the pin goes: writeback, which looks for pins, sees one or the other. Under the lock,
    // which keeps truncation from taking the folio's file away.
    folio_lock(folio);
    folio_mark_dirty(folio);
    folio_unlock(folio);
  }
  unpin_user_pages(pages, nr_pages, at);
}

} // namespace racewalk::inline RACEWALK_BACKEND
